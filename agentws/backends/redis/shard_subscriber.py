"""Subscribes to sharded channels on one server of a cluster: those of the slots that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import ClassVar

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.crc import key_slot
from redis.exceptions import MovedError

from .channels import shard_of
from .subscriber import Subscriber


class ShardSubscriber(Subscriber):
    """A subscriber whose channels, and probe, are in slots of its server.

    ``moved`` is called with a slot that the server does not have, or not any more: its channels are
    not subscribed to here. ``disconnected`` is called whenever there is no connection.
    """

    SUBSCRIBE: ClassVar = "SSUBSCRIBE"
    UNSUBSCRIBE: ClassVar = "SUNSUBSCRIBE"

    def __init__(
        self,
        pool: ConnectionPool,
        *,
        probe: str,
        timeout: float,
        received: Callable[[str, bytes], None],
        gap: Callable[[str], None],
        moved: Callable[[int], None],
        disconnected: Callable[[], None],
    ) -> None:
        super().__init__(pool, probe=probe, timeout=timeout, received=received, gap=gap)
        self._moved = moved
        self._disconnected = disconnected
        # It is one of the channels, so that it can be another one later.
        self.add(probe)

    def watch(self, probe: str) -> None:
        """Probes by this channel from now on."""
        if probe != self._probe:
            self.remove(self._probe)
            self._probe = probe
            self.add(probe)

    def again(self, shard: str) -> None:
        """Subscribes once more to all channels of the shard."""
        for channel in self._of(shard):
            self._change(channel)

    def take(self, shard: str) -> list[str]:
        """Removes the channels of the shard, except the probe, and returns them."""
        taken = [channel for channel in self._of(shard) if channel != self._probe]
        for channel in taken:
            self.remove(channel)
        return taken

    def _of(self, shard: str) -> list[str]:
        return [channel for channel in self._channels if shard in channel]

    async def drop(self) -> None:
        await super().drop()
        self._disconnected()

    async def _listen(self, connection: AbstractConnection) -> None:
        while True:
            try:
                kind, channel, value = await connection.read_response(disable_decoding=True)
            except MovedError as error:
                self._moved(error.slot_id)
            else:
                self._heard(kind, channel.decode(), value)

    def _heard(self, kind: bytes, channel: str, value: bytes) -> None:
        if channel not in self._channels:
            # Another server's by now, from which it may come as well.
            return
        if kind == b"smessage":
            if channel == self._probe:
                self._probed.set()
            else:
                self._received(channel, value)
        elif kind == b"ssubscribe":
            self._gap(channel)
        elif kind == b"sunsubscribe":
            # Not asked for: the slot has left the server.
            self._moved(key_slot(channel.encode()))

    def _commands(self, changed: Iterable[str]) -> Iterator[tuple[str, ...]]:
        # A command may name channels of one slot only.
        for _, channels in groupby(sorted(changed, key=shard_of), key=shard_of):
            yield from super()._commands(list(channels))

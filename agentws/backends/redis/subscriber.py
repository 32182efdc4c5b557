"""Subscribes to channels on a connection of its own, which it makes again when it was lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import ClassVar, Final

from redis.asyncio.connection import AbstractConnection, ConnectionPool

from .pool import connected, disconnect

logger: Final = logging.getLogger("agentws")

PROBE_INTERVAL: Final = 5.0
"""Seconds between two probes of the connection."""
LONGEST_PAUSE: Final = 2.0
"""Seconds between two tries to connect, at most."""
CHUNK: Final = 200
"""Channels of one command. Each is followed by reads of the store, which are spread by it."""


class Subscriber:
    """Receives the messages of the channels that were added.

    ``received`` is called with the channel and the payload of each message; ``gap`` with each
    channel that was subscribed to, or again: messages before that may have been missed.
    """

    SUBSCRIBE: ClassVar = "SUBSCRIBE"
    UNSUBSCRIBE: ClassVar = "UNSUBSCRIBE"

    def __init__(
        self,
        pool: ConnectionPool,
        *,
        probe: str,
        timeout: float,
        received: Callable[[str, bytes], None],
        gap: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._probe = probe
        self._timeout = timeout
        self._received = received
        self._gap = gap
        self._channels: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        """Channels that were added or removed since the server was told."""
        self._connection: AbstractConnection | None = None
        self._idle: asyncio.Future[None] | None = None
        self._probed = asyncio.Event()

    def channels(self) -> tuple[str, ...]:
        return tuple(self._channels)

    def add(self, channel: str) -> None:
        if channel not in self._channels:
            self._channels[channel] = None
            self._change(channel)

    def remove(self, channel: str) -> None:
        if self._channels.pop(channel, self) is None:
            self._change(channel)

    def _change(self, channel: str) -> None:
        self._changed[channel] = None
        idle, self._idle = self._idle, None
        if idle is not None and not idle.done():
            idle.set_result(None)

    # Connecting

    async def connect(self) -> AbstractConnection:
        async with asyncio.timeout(self._timeout):
            connection = await connected(self._pool)
            try:
                await connection.send_command(self.SUBSCRIBE, self._probe)
                await connection.read_response(disable_decoding=True)
            except BaseException:
                await disconnect(connection)
                raise
        for channel in self._channels:
            self._change(channel)
        self._connection = connection
        return connection

    async def drop(self) -> None:
        connection, self._connection = self._connection, None
        await disconnect(connection)

    async def run(self) -> None:
        """Receives until it is cancelled; connects again whenever the connection is lost."""
        pause = 0.0
        while True:
            try:
                connection = self._connection or await self.connect()
                pause = 0.0
                await self._listen(connection)
            except Exception as error:
                logger.info("the connection for messages of other nodes was lost: %r", error)
            await self.drop()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(LONGEST_PAUSE, 2 * pause + 0.05)

    async def _listen(self, connection: AbstractConnection) -> None:
        while True:
            kind, channel, value = await connection.read_response(disable_decoding=True)
            name = channel.decode()
            if kind == b"message":
                if name == self._probe:
                    self._probed.set()
                else:
                    self._received(name, value)
            elif kind == b"subscribe" and name in self._channels:
                self._gap(name)

    # Changing what is subscribed

    async def send_changes(self) -> None:
        """Tells the server which channels were added and removed, until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._changed or self._connection is None:
                self._idle = loop.create_future()
                await self._idle
            changed, self._changed = self._changed, {}
            try:
                await self._send(changed)
            except Exception:
                # The connection is lost: a new one begins with all channels.
                await self.drop()

    async def _send(self, changed: Iterable[str]) -> None:
        for command in self._commands(changed):
            if self._connection is None:
                return
            async with asyncio.timeout(self._timeout):
                await self._connection.send_command(*command, check_health=False)
            await asyncio.sleep(0)

    def _commands(self, changed: Iterable[str]) -> Iterator[tuple[str, ...]]:
        added = [channel for channel in changed if channel in self._channels]
        removed = [channel for channel in changed if channel not in self._channels]
        for name, channels in ((self.SUBSCRIBE, added), (self.UNSUBSCRIBE, removed)):
            for start in range(0, len(channels), CHUNK):
                yield name, *channels[start : start + CHUNK]

    # Probing

    async def probe(
        self, send: Callable[[str, bytes], None], lost: Callable[[], Awaitable[None]]
    ) -> None:
        """Drops the connection, and calls ``lost``, when a message that this node has sent by
        ``send`` does not come back in time.
        """
        while True:
            await asyncio.sleep(PROBE_INTERVAL)
            if self._connection is None:
                continue
            self._probed.clear()
            send(self._probe, b"")
            try:
                async with asyncio.timeout(self._timeout):
                    await self._probed.wait()
            except TimeoutError:
                logger.warning("messages of other nodes did not arrive: connecting again")
                await self.drop()
                await lost()

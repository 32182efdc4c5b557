"""The bus between the nodes that use one Redis server, or one cluster: its pub/sub.

Pub/sub is a hint only: a connection that is lost, or attached to a server that the messages don't
reach any more, loses them without an error. So a bus probes its own connections, and whenever it
has subscribed to a channel it delivers ``GAP`` there: listeners read again what they follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from secrets import token_bytes
from typing import Final

from ...bus import GAP, SESSION_CHANNEL, Bus, Listener, Subscriptions
from ...settings import Timeout, check_setting
from .cluster_pubsub import opened
from .pool import check_namespace, place_of, pool_of
from .publisher import MOST
from .pubsub import PubSub, Wiring

_SENDER: Final = 8
"""Bytes before each payload: the bus that sent it, which has delivered it to its own listeners."""


class RedisBus(Bus):
    """Reaches every node whose bus has the same server, database and ``namespace``.

    On a Redis Cluster (7.0 or newer, or Valkey) the channels of the sessions are sharded, so that
    its servers share their messages; those of one of 6.2 are classic, and go to every server. When
    a replica takes over from a primary that lives, a message may come late, or twice.

    ``url`` and ``namespace`` are those of :class:`RedisStore`, but any store may be combined with
    this bus. ``timeout``: seconds for connecting, and for a probe to come back.

    Raises ValueError and TypeError as :class:`RedisStore` does.
    """

    scope = "cluster"

    def __init__(self, url: str, *, namespace: str = "agentws", timeout: float = 5.0) -> None:
        check_setting("timeout", timeout, Timeout)
        # Also refuses an address that is none.
        pool = pool_of(url)
        self._place = f"{place_of(url)} {check_namespace(namespace)}"
        self._id = token_bytes(_SENDER)
        # Pub/sub knows no databases: without its number, two applications would hear each other.
        database = pool.connection_kwargs.get("db") or 0
        self._prefix = f"{namespace}:{database}:b:" if database else f"{namespace}:b:"
        self._subscriptions = Subscriptions()
        self._wiring = Wiring(
            url=url,
            namespace=namespace,
            prefix=self._prefix,
            probe=f"{namespace}:p:{self._id.hex()}",
            timeout=timeout,
            received=self._received,
            gap=self._gap,
        )
        self._pubsub: PubSub | None = None
        self._rung: dict[str, bytes] = {}
        """What the store has published, until the gateway asks for it."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<RedisBus {self._place}>"

    async def open(self) -> None:
        if self._pubsub is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._pubsub = await opened(self._wiring)
        for channel in self._subscriptions.channels():
            self._pubsub.add(self._prefix + channel)

    async def close(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        # The tasks of a loop that was closed will never run again.
        if pubsub is not None and self._loop is asyncio.get_running_loop():
            await pubsub.close()

    def bell(self, session: str) -> tuple[str, str, bytes] | None:
        """For a store that rings by itself: the command, the server's channel, and what a message
        begins with. ``None`` while the bus is closed.
        """
        pubsub = self._pubsub
        if pubsub is None:
            return None
        return *pubsub.publishing(f"{self._prefix}{SESSION_CHANNEL}{session}"), self._id

    def rung(self, session: str, seq: int) -> None:
        """The store has rung for this end of the log: the same message is not published again."""
        if len(self._rung) >= MOST:
            self._rung.clear()
        self._rung[SESSION_CHANNEL + session] = b"%d" % seq

    def publish(self, channel: str, payload: bytes) -> None:
        self._subscriptions.deliver(channel, payload)
        if self._pubsub is not None and self._rung.pop(channel, None) != payload:
            self._pubsub.send(self._prefix + channel, self._id + payload)

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        end = self._subscriptions.add(channel, listener)
        if self._pubsub is not None:
            self._pubsub.add(self._prefix + channel)

        def unsubscribe() -> None:
            end()
            if self._pubsub is not None and not self._subscriptions.has(channel):
                self._pubsub.remove(self._prefix + channel)

        return unsubscribe

    def _received(self, channel: str, payload: bytes) -> None:
        if not payload.startswith(self._id):
            self._subscriptions.deliver(channel.removeprefix(self._prefix), payload[_SENDER:])

    def _gap(self, channel: str) -> None:
        self._subscriptions.deliver(channel.removeprefix(self._prefix), GAP)

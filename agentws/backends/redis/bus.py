"""The bus between the nodes that use one Redis server: its pub/sub.

Pub/sub is a hint only: a connection that is lost, or attached to a server that the messages don't
reach any more, loses them without an error. So a bus probes its own connection, and whenever it
has subscribed to a channel it delivers ``GAP`` there: listeners read again what they follow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from secrets import token_bytes
from typing import Final

from ...bus import GAP, SESSION_CHANNEL, Bus, Listener, Subscriptions
from ...settings import Timeout, check_setting
from .errors import translated
from .pool import check_namespace, place_of, pool_of
from .publisher import MOST, Publisher
from .subscriber import Subscriber

_SENDER: Final = 8
"""Bytes before each payload: the bus that sent it, which has delivered it to its own listeners."""


class RedisBus(Bus):
    """Reaches every node whose bus has the same server, database and ``namespace``.

    ``url`` and ``namespace`` are those of :class:`RedisStore`, but any store may be combined with
    this bus. ``timeout``: seconds for connecting, and for a probe to come back.
    """

    scope = "cluster"

    def __init__(self, url: str, *, namespace: str = "agentws", timeout: float = 5.0) -> None:
        check_setting("timeout", timeout, Timeout)
        pool = pool_of(url, socket_connect_timeout=timeout)
        self._place = f"{place_of(url)} {check_namespace(namespace)}"
        self._id = token_bytes(_SENDER)
        # Pub/sub knows no databases: without its number, two applications would hear each other.
        database = pool.connection_kwargs.get("db") or 0
        self._prefix = f"{namespace}:{database}:b:" if database else f"{namespace}:b:"
        self._subscriptions = Subscriptions()
        probe = f"{namespace}:p:{self._id.hex()}"
        self._publisher = Publisher(pool, probe=probe, timeout=timeout)
        self._subscriber = Subscriber(
            pool, probe=probe, timeout=timeout, received=self._received, gap=self._gap
        )
        self._rung: dict[str, bytes] = {}
        """What the store has published, until the gateway asks for it."""
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<RedisBus {self._place}>"

    async def open(self) -> None:
        if self._tasks:
            return
        self._loop = asyncio.get_running_loop()
        try:
            await self._publisher.connect()
            await self._subscriber.connect()
        except Exception as error:
            await self._publisher.drop()
            raise translated(error) from error
        self._tasks = [
            self._loop.create_task(self._publisher.run(), name="agentws-redis-publisher"),
            self._loop.create_task(self._subscriber.run(), name="agentws-redis-subscriber"),
            self._loop.create_task(
                self._subscriber.send_changes(), name="agentws-redis-subscriptions"
            ),
            self._loop.create_task(
                self._subscriber.probe(self._publisher), name="agentws-redis-probe"
            ),
        ]

    async def close(self) -> None:
        tasks, self._tasks = self._tasks, []
        if not tasks or self._loop is not asyncio.get_running_loop():
            # The tasks of a loop that was closed will never run again.
            return
        await self._publisher.flush()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._publisher.drop()
        await self._subscriber.drop()

    def bell(self, session: str) -> tuple[str, bytes] | None:
        """The server's channel, and what a message begins with, for a store that rings by itself.

        ``None`` while the bus is closed.
        """
        return (f"{self._prefix}{SESSION_CHANNEL}{session}", self._id) if self._tasks else None

    def rung(self, session: str, seq: int) -> None:
        """The store has rung for this end of the log: the same message is not published again."""
        if len(self._rung) >= MOST:
            self._rung.clear()
        self._rung[SESSION_CHANNEL + session] = b"%d" % seq

    def publish(self, channel: str, payload: bytes) -> None:
        self._subscriptions.deliver(channel, payload)
        if self._tasks and self._rung.pop(channel, None) != payload:
            self._publisher.send(self._prefix + channel, self._id + payload)

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        end = self._subscriptions.add(channel, listener)
        self._subscriber.add(self._prefix + channel)

        def unsubscribe() -> None:
            end()
            if not self._subscriptions.has(channel):
                self._subscriber.remove(self._prefix + channel)

        return unsubscribe

    def _received(self, channel: str, payload: bytes) -> None:
        if not payload.startswith(self._id):
            self._subscriptions.deliver(channel.removeprefix(self._prefix), payload[_SENDER:])

    def _gap(self, channel: str) -> None:
        self._subscriptions.deliver(channel.removeprefix(self._prefix), GAP)

"""Pub/sub on one Redis server: a publisher, a subscriber, and the tasks that keep them going."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import NamedTuple

from .errors import translated
from .pool import pool_of
from .publisher import Publisher
from .subscriber import Subscriber


class Wiring(NamedTuple):
    """What the pub/sub of a bus is made with."""

    url: str
    namespace: str
    prefix: str
    """What the names of all channels begin with on the server."""
    probe: str
    """The channel of this bus's own probes."""
    timeout: float
    """Seconds for connecting, and for a probe to come back."""
    received: Callable[[str, bytes], None]
    """Called with the channel and the payload of each message."""
    gap: Callable[[str], None]
    """Called with each channel of which messages may have been missed."""


class PubSub:
    """Sends to channels, and receives those that were added. All names are as on the server."""

    def __init__(self, wiring: Wiring) -> None:
        pool = pool_of(wiring.url, socket_connect_timeout=wiring.timeout)
        self._wiring = wiring
        self._publisher = Publisher(pool, probe=wiring.probe, timeout=wiring.timeout)
        self._subscriber = Subscriber(
            pool,
            probe=wiring.probe,
            timeout=wiring.timeout,
            received=wiring.received,
            gap=wiring.gap,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Connects. Raises Unavailable or Misconfigured."""
        try:
            await self._publisher.connect()
            await self._subscriber.connect()
        except Exception as error:
            await self._publisher.drop()
            raise translated(error) from error
        publisher, subscriber = self._publisher, self._subscriber
        self._start(publisher.run(), "publisher")
        self._start(subscriber.run(), "subscriber")
        self._start(subscriber.send_changes(), "subscriptions")
        self._start(subscriber.probe(publisher.send, publisher.drop), "probe")

    def _start(self, running: Coroutine[None, None, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(running, name=f"agentws-redis-{name}"))

    async def close(self) -> None:
        await self._publisher.flush()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._publisher.drop()
        await self._subscriber.drop()

    def publishing(self, channel: str) -> tuple[str, str]:
        """The command, and the name of the channel, by which a script publishes on it now."""
        return "PUBLISH", channel

    def send(self, channel: str, payload: bytes) -> None:
        """Publishes without waiting. The message may be lost."""
        self._publisher.send(channel, payload)

    def add(self, channel: str) -> None:
        self._subscriber.add(channel)

    def remove(self, channel: str) -> None:
        self._subscriber.remove(channel)

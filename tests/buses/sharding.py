"""What the tests of sharded channels share: buses, slots of sessions, listeners and publishers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from secrets import token_hex

from redis.crc import key_slot

from agentws.backends.redis import RedisBus
from agentws.backends.redis.cluster import prefix_of, prefixes_of
from agentws.bus import GAP, SESSION_CHANNEL
from agentws.testing.contract_base import eventually
from tests.servers.redis import RedisServer
from tests.servers.redis_cluster import RedisCluster


@asynccontextmanager
async def opened(
    cluster: RedisCluster, namespace: str, *, first: int = 0
) -> AsyncIterator[RedisBus]:
    """A bus that finds the cluster by that one of its servers."""
    bus = RedisBus(cluster.servers[first].url, namespace=namespace)
    await bus.open()
    try:
        yield bus
    finally:
        await bus.close()


def slot_of(namespace: str, session: str) -> int:
    return int(key_slot(prefix_of(prefixes_of(namespace), session).encode()))


def sessions_at(cluster: RedisCluster, namespace: str, server: RedisServer) -> Iterator[str]:
    """Ids of sessions whose slot that server has."""
    while True:
        session = token_hex(8)
        if cluster.owner(slot_of(namespace, session)) is server:
            yield session


def slot_of_probe(cluster: RedisCluster, namespace: str, server: RedisServer) -> int:
    slots = (int(key_slot(prefix.encode())) for prefix in prefixes_of(namespace))
    return next(slot for slot in slots if cluster.owner(slot) is server)


def sharded(server: RedisServer, namespace: str) -> int:
    """How many sharded channels of sessions are subscribed to at the server."""
    return server.command(f"PUBSUB SHARDCHANNELS {namespace}:*:b:*").count(":b:")


async def until_sharded(server: RedisServer, namespace: str, channels: int) -> None:
    """Waits until :func:`sharded` is ``channels``: a gap may be told more than once, so that the
    last one of a move is not known by their number."""

    async def subscribed() -> bool:
        return sharded(server, namespace) == channels

    await eventually(subscribed)


class Ear:
    """What one listener of a session was called with."""

    def __init__(self, bus: RedisBus, session: str) -> None:
        self.heard: list[bytes] = []
        bus.subscribe(SESSION_CHANNEL + session, lambda _, payload: self.heard.append(payload))

    @property
    def gaps(self) -> int:
        return self.heard.count(GAP)

    async def until(self, is_met: Callable[[list[bytes]], bool]) -> None:
        async def met() -> bool:
            return is_met(self.heard)

        await eventually(met)

    async def until_gap(self, number: int = 1) -> None:
        await self.until(lambda heard: heard.count(GAP) >= number)


class Talker:
    """Publishes numbers for a session for a while, and knows what has to be heard."""

    def __init__(self, bus: RedisBus, ear: Ear, session: str) -> None:
        self._bus = bus
        self._ear = ear
        self._channel = SESSION_CHANNEL + session
        self._heard_before: list[int] = []
        """How much was heard when each number was published."""

    @asynccontextmanager
    async def talking(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._talk())
        yield
        task.cancel()
        await asyncio.wait([task])
        await self.is_heard()

    async def _talk(self) -> None:
        while True:
            self._publish()
            await asyncio.sleep(0.002)

    def _publish(self) -> None:
        self._heard_before.append(len(self._ear.heard))
        self._bus.publish(self._channel, b"%d" % (len(self._heard_before) - 1))

    async def is_heard(self) -> None:
        """Messages arrive again, with no gap to come."""

        async def heard() -> bool:
            self._publish()
            await asyncio.sleep(0.02)
            return b"%d" % (len(self._heard_before) - 1) in self._ear.heard

        await eventually(heard)

    def check(self) -> None:
        """Each number was heard once and in order, or a gap was, later than it was published."""
        numbers = [int(payload) for payload in self._ear.heard if payload != GAP]
        assert numbers == sorted(set(numbers))
        self.check_missed()

    def check_missed(self) -> None:
        """Each number was heard, or a gap was, later than it was published."""
        heard = self._ear.heard
        numbers = [int(payload) for payload in heard if payload != GAP]
        for number in set(range(len(self._heard_before))) - set(numbers):
            assert GAP in heard[self._heard_before[number] :]

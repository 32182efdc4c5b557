"""A Redis bus whose connections are lost, killed, or lead nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agentws.backends.redis import RedisBus
from agentws.backends.redis import subscriber as redis_subscriber
from agentws.bus import GAP
from agentws.errors import Unavailable
from agentws.testing.contract_base import eventually
from agentws.testing.proxy import FaultProxy
from tests.servers.redis import RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@asynccontextmanager
async def opened(url: str, *, patience: float = 5.0) -> AsyncIterator[RedisBus]:
    bus = RedisBus(url, timeout=patience)
    await bus.open()
    try:
        yield bus
    finally:
        await bus.close()


class Ear:
    """What one listener was called with."""

    def __init__(self, bus: RedisBus, channel: str) -> None:
        self.heard: list[bytes] = []
        self.end = bus.subscribe(channel, lambda _, payload: self.heard.append(payload))

    @property
    def gaps(self) -> int:
        return self.heard.count(GAP)

    async def until_gap(self, number: int) -> None:
        """Returns when the server has confirmed the subscription for the ``number``-th time."""

        async def confirmed() -> bool:
            return self.gaps >= number

        await eventually(confirmed)

    async def until_heard(self, payload: bytes) -> None:
        async def heard() -> bool:
            return payload in self.heard

        await eventually(heard)


async def test_a_listener_reads_again_once_its_subscription_is_in_force(
    server: RedisServer,
) -> None:
    async with opened(server.url) as bus, opened(server.url) as peer:
        ear = Ear(bus, "s:1")
        await ear.until_gap(1)
        # From now on nothing is lost while the connections live.
        for number in range(100):
            peer.publish("s:1", b"%d" % number)
        await ear.until_heard(b"99")
        assert ear.heard == [GAP, *(b"%d" % number for number in range(100))]


async def test_after_its_connection_was_killed_every_listener_reads_again(
    server: RedisServer,
) -> None:
    async with opened(server.url) as bus, opened(server.url) as peer:
        ears = [Ear(bus, f"s:{number}") for number in range(500)]
        for ear in ears:
            await ear.until_gap(1)
        server.command("CLIENT KILL TYPE pubsub")
        for ear in ears:
            await ear.until_gap(2)
        peer.publish("s:7", b"heard again")
        await ears[7].until_heard(b"heard again")


async def test_messages_are_published_again_after_the_connection_was_killed(
    server: RedisServer,
) -> None:
    async with opened(server.url) as bus, opened(server.url) as peer:
        ear = Ear(bus, "s:1")
        await ear.until_gap(1)
        await asyncio.to_thread(server.command, "CLIENT KILL TYPE normal SKIPME yes")

        async def heard() -> bool:
            peer.publish("s:1", b"again")
            return b"again" in ear.heard

        await eventually(heard)


async def test_a_bus_follows_its_server_through_a_restart(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        async with opened(server.url) as bus, opened(server.url) as peer:
            ear = Ear(bus, "s:1")
            await ear.until_gap(1)
            server.kill()
            peer.publish("s:1", b"while it is away")
            await asyncio.to_thread(server.start)
            await ear.until_gap(2)

            async def heard() -> bool:
                peer.publish("s:1", b"again")
                return b"again" in ear.heard

            await eventually(heard)


async def test_a_connection_that_brings_nothing_any_more_is_found_by_a_probe(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a failover that left the old server running, or behind a firewall that forgot."""
    monkeypatch.setattr(redis_subscriber, "PROBE_INTERVAL", 0.1)
    async with FaultProxy(server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        async with opened(url, patience=1.0) as bus, opened(server.url) as peer:
            ear = Ear(bus, "s:1")
            await ear.until_gap(1)
            # On a busy machine, a probe of the connection that works may have come too late.
            gaps = ear.gaps
            proxy.half_open()
            await ear.until_gap(gaps + 1)
            assert "did not arrive" in caplog.text

            async def heard() -> bool:
                peer.publish("s:1", b"heard again")
                return b"heard again" in ear.heard

            await eventually(heard)


async def test_a_slow_node_that_the_server_drops_reads_again(tmp_path: Path) -> None:
    limit = {"client-output-buffer-limit": "pubsub 100kb 100kb 1"}
    with RedisServer(tmp_path, settings=limit) as server:
        async with FaultProxy(server.port) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}/0"
            async with opened(url) as bus, opened(server.url) as peer:
                ear = Ear(bus, "s:1")
                await ear.until_gap(1)
                proxy.blackhole("down")
                for _ in range(200):
                    peer.publish("s:1", b"x" * 100_000)
                    await asyncio.sleep(0)

                async def dropped() -> bool:
                    info = await asyncio.to_thread(server.command, "CLIENT LIST TYPE pubsub")
                    return info.count("id=") == 1

                await eventually(dropped)
                proxy.heal()
                await ear.until_gap(2)


async def test_publishing_never_waits_and_is_bounded_while_the_server_is_away(
    tmp_path: Path,
) -> None:
    with RedisServer(tmp_path) as server:
        async with opened(server.url) as bus:
            ear = Ear(bus, "s:1")
            server.kill()
            for number in range(20_000):
                bus.publish("s:1", b"%d" % number)
            # The listeners of the own process are called at once.
            assert len(ear.heard) - ear.gaps == 20_000


async def test_a_bus_that_is_opened_again_has_the_listeners_that_it_had(
    server: RedisServer,
) -> None:
    async with opened(server.url) as bus, opened(server.url) as peer:
        ear, ended = Ear(bus, "s:1"), Ear(bus, "s:2")
        await ear.until_gap(1)
        await bus.close()
        ended.end()
        await bus.open()
        await ear.until_gap(2)
        for channel in ("s:2", "s:1"):
            peer.publish(channel, b"heard again")
        await ear.until_heard(b"heard again")
        assert b"heard again" not in ended.heard


async def test_a_server_that_is_away_is_reported_in_one_line() -> None:
    with pytest.raises(Unavailable, match="^The Redis server can't be reached.$"):
        await RedisBus("redis://127.0.0.1:1/0").open()


async def test_the_subscriptions_of_the_server_follow_those_of_the_bus(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        async with opened(server.url) as bus:

            async def until(wanted: int) -> None:
                async def subscribed() -> bool:
                    listed = await asyncio.to_thread(server.command, "PUBSUB CHANNELS agentws:b:*")
                    return listed.count("agentws:b:") == wanted

                await eventually(subscribed)

            ears = [Ear(bus, f"s:{number % 10}") for number in range(20)]
            await until(10)
            for ear in ears[:15]:
                ear.end()
            await until(5)
            Ear(bus, "s:0")
            await until(6)

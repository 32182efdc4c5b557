"""The Redis bus on a cluster: sharded channels, slots that move, servers that leave."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Final

import pytest
from redis.crc import key_slot

from agentws.backends.redis import RedisBus, checks, cluster_pubsub
from agentws.backends.redis import subscriber as redis_subscriber
from agentws.backends.redis.cluster import prefixes_of
from agentws.bus import GAP, SESSION_CHANNEL, Bus, Listener
from agentws.errors import Misconfigured
from agentws.testing.contract_base import begin, events, eventually
from agentws.testing.contracts import BusContract
from tests.servers.redis import OLDEST, REDIS, VALKEY, RedisServer
from tests.servers.redis_cluster import RedisCluster, wait_for_copy
from tests.stores import redis_stores

from .sharding import (
    Ear,
    Talker,
    opened,
    sessions_at,
    sharded,
    slot_of,
    slot_of_probe,
    until_sharded,
)

NEWER: Final = (REDIS, VALKEY)


@pytest.fixture(scope="module", params=NEWER)
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster"), kind=request.param) as cluster:
        yield cluster


@pytest.fixture
def namespace() -> str:
    return token_hex(8)


@pytest.fixture
def only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buses ask for the slots when a server or a lost connection says so, and not now and then."""
    monkeypatch.setattr(cluster_pubsub, "INTERVAL", 3600.0)


class OfSessions(Bus):
    """A bus on which every channel is that of a session."""

    def __init__(self, bus: RedisBus) -> None:
        self._bus = bus

    async def close(self) -> None:
        await self._bus.close()

    def publish(self, channel: str, payload: bytes) -> None:
        self._bus.publish(SESSION_CHANNEL + channel, payload)

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        return self._bus.subscribe(
            SESSION_CHANNEL + channel,
            lambda name, payload: listener(name.removeprefix(SESSION_CHANNEL), payload),
        )


class TestSessionsOnACluster(BusContract):
    @pytest.fixture
    async def bus(self, cluster: RedisCluster, namespace: str) -> AsyncIterator[Bus]:
        async with opened(cluster, namespace) as bus:
            yield OfSessions(bus)

    @pytest.fixture
    async def peer(self, cluster: RedisCluster, namespace: str, bus: Bus) -> AsyncIterator[Bus]:
        async with opened(cluster, namespace, first=1) as peer:
            yield OfSessions(peer)


class TestOtherChannelsOnACluster(BusContract):
    @pytest.fixture
    async def bus(self, cluster: RedisCluster, namespace: str) -> AsyncIterator[Bus]:
        async with opened(cluster, namespace) as bus:
            yield bus

    @pytest.fixture
    async def peer(self, cluster: RedisCluster, namespace: str, bus: Bus) -> AsyncIterator[Bus]:
        async with opened(cluster, namespace, first=1) as peer:
            yield peer


async def test_a_session_rings_at_the_server_that_has_it_and_at_no_other(
    cluster: RedisCluster, namespace: str
) -> None:
    def between_servers() -> list[str]:
        """How many messages of channels the servers have sent to each other."""
        infos = [server.command("CLUSTER INFO").splitlines() for server in cluster.servers]
        return [line for info in infos for line in info if "messages_publish" in line]

    async with (
        opened(cluster, namespace, first=1) as bus,
        redis_stores.opened(cluster.url, namespace=namespace) as store,
    ):
        ringing = store.default_bus()
        await ringing.open()
        session = await begin(store)
        ear = Ear(bus, session)
        await ear.until_gap()
        before = between_servers()
        # By the script of the append, and by the bus.
        await store.append(session, events(1, 2))
        await ear.until(lambda heard: b"2" in heard)
        ringing.publish(SESSION_CHANNEL + session, b"3")
        await ear.until(lambda heard: b"3" in heard)
        assert between_servers() == before
        owner = cluster.owner(slot_of(namespace, session))
        found = {server.port: sharded(server, namespace) for server in cluster.servers}
        assert found == {server.port: int(server is owner) for server in cluster.servers}
        await ringing.close()


async def test_a_slot_that_moves_is_followed_and_nothing_is_missed_without_a_gap(
    cluster: RedisCluster, namespace: str, only_when_told: None
) -> None:
    async with opened(cluster, namespace) as bus, opened(cluster, namespace, first=1) as peer:
        owner = cluster.servers[0]
        at_owner = sessions_at(cluster, namespace, owner)
        session = next(at_owner)
        slot = slot_of(namespace, session)
        stays = Ear(bus, next(one for one in at_owner if slot_of(namespace, one) != slot))
        ear = Ear(bus, session)
        for each in (ear, stays):
            await each.until_gap()
        talker = Talker(peer, ear, session)
        for to in (*cluster.servers[1:], owner):
            gaps = ear.gaps
            async with talker.talking():
                await asyncio.to_thread(cluster.move, slot, to)
                await ear.until_gap(gaps + 1)
            await until_sharded(to, namespace, 2 if to is owner else 1)
        talker.check()
        # What did not move was not disturbed.
        assert stays.heard == [GAP]


async def test_a_session_is_found_where_its_slot_has_moved_to_before(
    cluster: RedisCluster, namespace: str, only_when_told: None
) -> None:
    source, to, _ = cluster.servers
    async with opened(cluster, namespace) as bus:
        session = next(
            one
            for one in sessions_at(cluster, namespace, source)
            if slot_of(namespace, one) != slot_of_probe(cluster, namespace, source)
        )
        # Nobody listens there: so nobody is told.
        await asyncio.to_thread(cluster.move, slot_of(namespace, session), to)
        await Ear(bus, session).until_gap()
        await until_sharded(to, namespace, 1)
        await asyncio.to_thread(cluster.move, slot_of(namespace, session), source)


async def test_a_server_is_probed_in_a_slot_that_it_has(
    cluster: RedisCluster, namespace: str, only_when_told: None
) -> None:
    source, to, _ = cluster.servers

    async def probed() -> bool:
        listed = source.command(f"PUBSUB SHARDCHANNELS {namespace}:*:p:*")
        return listed.count(":p:") == 1

    async with opened(cluster, namespace) as bus:
        slot = slot_of_probe(cluster, namespace, source)
        at_source = sessions_at(cluster, namespace, source)
        stays = Ear(bus, next(one for one in at_source if slot_of(namespace, one) != slot))
        await stays.until_gap()
        await eventually(probed)
        await asyncio.to_thread(cluster.move, slot, to)
        await eventually(probed)
        assert stays.heard == [GAP]
        await asyncio.to_thread(cluster.move, slot, source)


async def test_a_server_that_gives_all_its_slots_away_is_left(
    cluster: RedisCluster, namespace: str, only_when_told: None
) -> None:
    def listeners(server: RedisServer) -> int:
        return server.command(f"PUBSUB SHARDCHANNELS {namespace}:*").count(f"{{{namespace}:")

    source, to, other = cluster.servers
    async with opened(cluster, namespace) as bus:
        sessions = sessions_at(cluster, namespace, source)
        ears = [Ear(bus, next(sessions)) for _ in range(30)]
        for ear in ears:
            await ear.until_gap()
        slots = {int(key_slot(prefix.encode())) for prefix in prefixes_of(namespace)}
        moved = [slot for slot in slots if cluster.owner(slot) is source]
        for slot in moved:
            await asyncio.to_thread(cluster.move, slot, to)
        for ear in ears:
            await ear.until_gap(2)

        async def left() -> bool:
            return listeners(source) == 0

        await eventually(left)
        await until_sharded(to, namespace, 30)
        assert sharded(other, namespace) == 0
        for slot in moved:
            await asyncio.to_thread(cluster.move, slot, source)
        for ear in ears:
            await ear.until_gap(3)
        await until_sharded(source, namespace, 30)


async def test_when_a_replica_takes_over_nothing_is_missed_without_a_gap(
    tmp_path: Path, only_when_told: None
) -> None:
    with RedisCluster(tmp_path) as cluster:
        primary = cluster.servers[0]
        replica = cluster.add_replica(primary)
        async with opened(cluster, "n", first=1) as bus, opened(cluster, "n", first=2) as peer:
            session = next(sessions_at(cluster, "n", primary))
            elsewhere = Ear(bus, next(sessions_at(cluster, "n", cluster.servers[1])))
            ear = Ear(bus, session)
            for each in (ear, elsewhere):
                await each.until_gap()
            talker = Talker(peer, ear, session)
            async with talker.talking():
                primary.kill()
                await asyncio.sleep(0.05)
                # Without asking the other servers.
                replica.command("CLUSTER FAILOVER TAKEOVER")
                await ear.until_gap(2)
            talker.check()
            await until_sharded(replica, "n", 1)
            await asyncio.to_thread(primary.start)
            await asyncio.to_thread(wait_for_copy, primary)
            gaps = ear.gaps
            async with talker.talking():
                primary.command("CLUSTER FAILOVER TAKEOVER")
                await ear.until_gap(gaps + 1)
            # The last messages of a primary that lives may come from the new one, too.
            talker.check_missed()
            assert elsewhere.heard == [GAP]


async def test_a_connection_that_is_killed_is_made_again_and_its_listeners_read_again(
    cluster: RedisCluster, namespace: str
) -> None:
    killed, other = cluster.servers[1:]
    async with opened(cluster, namespace) as bus, opened(cluster, namespace) as peer:
        session = next(sessions_at(cluster, namespace, killed))
        ear = Ear(bus, session)
        unharmed = Ear(bus, next(sessions_at(cluster, namespace, other)))
        for each in (ear, unharmed):
            await each.until_gap()
        talker = Talker(peer, ear, session)
        async with talker.talking():
            await asyncio.to_thread(killed.command, "CLIENT KILL TYPE pubsub")
            await ear.until_gap(2)
        talker.check()
        assert unharmed.heard == [GAP]


async def test_a_server_that_does_not_answer_is_found_by_a_probe(
    cluster: RedisCluster,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(redis_subscriber, "PROBE_INTERVAL", 0.05)
    # Less than the time after which the other servers think that it has failed.
    bus = RedisBus(cluster.url, namespace=namespace, timeout=1.0)
    await redis_stores.recovered(bus.open)
    server = cluster.servers[2]
    ear = Ear(bus, next(sessions_at(cluster, namespace, server)))
    await ear.until_gap()
    # On a busy machine, a probe of a server that answers may have come too late.
    gaps, warnings = ear.gaps, caplog.text.count("did not arrive")
    server.pause()

    async def found() -> bool:
        return caplog.text.count("did not arrive") > warnings

    try:
        await eventually(found)
    finally:
        server.resume()
    await ear.until_gap(gaps + 1)
    await bus.close()
    await asyncio.to_thread(cluster.wait_until_whole)


async def test_a_cluster_of_old_servers_has_classic_channels(
    tmp_path: Path, namespace: str
) -> None:
    with RedisCluster(tmp_path, kind=OLDEST) as cluster:
        async with (
            opened(cluster, namespace, first=1) as bus,
            redis_stores.opened(cluster.url, namespace=namespace) as store,
        ):
            ringing = store.default_bus()
            await ringing.open()
            session = await begin(store)
            ear = Ear(bus, session)
            await ear.until_gap()
            await store.append(session, events(1, 2))
            ringing.publish(SESSION_CHANNEL + session, b"3")
            await ear.until(lambda heard: {b"2", b"3"} <= set(heard))
            await ringing.close()


async def test_when_all_servers_have_become_newer_the_channels_are_sharded(
    cluster: RedisCluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_pubsub, "INTERVAL", 0.05)
    monkeypatch.setattr(cluster_pubsub, "HAS_SHARDED_PUBSUB", (99, 0))
    async with opened(cluster, namespace) as bus:
        ear = Ear(bus, session := token_hex(8))
        await ear.until_gap()
        owner = cluster.owner(slot_of(namespace, session))
        assert sharded(owner, namespace) == 0
        monkeypatch.setattr(cluster_pubsub, "HAS_SHARDED_PUBSUB", checks.HAS_SHARDED_PUBSUB)
        await ear.until_gap(2)
        await until_sharded(owner, namespace, 1)
        async with opened(cluster, namespace) as peer:
            peer.publish(SESSION_CHANNEL + session, b"sharded")
            await ear.until(lambda heard: heard[-1] == b"sharded")


async def test_a_user_who_may_not_use_the_channels_is_told(
    cluster: RedisCluster, namespace: str
) -> None:
    for server in cluster.servers:
        server.command(f"ACL SETUSER limited on nopass ~* +@all -ssubscribe &{namespace}:*")
    bus = RedisBus(f"redis://limited:x@127.0.0.1:{cluster.servers[0].port}", namespace=namespace)
    with pytest.raises(Misconfigured, match="may not do this"):
        await bus.open()


async def test_the_rights_in_the_documentation_are_enough(cluster: RedisCluster) -> None:
    page = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()
    [rights] = re.findall(r"`(~\{agentws:\*[^`]+)`", page)
    [more] = re.findall(r"for a cluster `([^`]+)`", page)
    for server in cluster.servers:
        reply = server.command(f"ACL SETUSER agentws on >secret {rights} {more}")
        assert reply.startswith("+OK"), reply
    url = cluster.url.replace("127.0.0.1", "agentws:secret@127.0.0.1")
    async with redis_stores.opened(url) as store:
        bus = store.default_bus()
        await bus.open()
        session = await begin(store)
        ear = Ear(bus, session)
        await ear.until_gap()
        assert sharded(cluster.owner(slot_of("agentws", session)), "agentws") == 1
        async with opened(cluster, "agentws") as peer:
            await store.append(session, events(1))
            peer.publish(SESSION_CHANNEL + session, b"heard")
            await ear.until(lambda heard: b"heard" in heard)
        await bus.close()

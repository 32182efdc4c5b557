"""The Redis store on a cluster: the contract, slots that move, servers that leave."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from secrets import token_hex
from socket import socket

import pytest
from redis.crc import key_slot

from agentws.backends.redis import RedisStore
from agentws.errors import Unavailable
from agentws.store import Key
from agentws.testing.contract_base import begin, event, events, everything, filled
from agentws.testing.contracts import StoreContract
from agentws.testing.oracle import check_tags
from tests.servers.redis_cluster import RedisCluster, id_of
from tests.stores.redis_stores import opened, recovered


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


class TestRedisStoreOnACluster(StoreContract):
    @pytest.fixture
    async def store(self, cluster: RedisCluster) -> AsyncIterator[RedisStore]:
        async with opened(cluster.url, namespace=token_hex(8)) as store:
            yield store

    @pytest.fixture
    async def peer(self, cluster: RedisCluster, store: RedisStore) -> AsyncIterator[RedisStore]:
        # Found by another of its servers.
        url = cluster.servers[1].url
        async with opened(url, namespace=store._servers.namespace) as peer:
            yield peer


def slot_of(store: RedisStore, session: str) -> int:
    return int(key_slot(store._servers.prefix_of(session).encode()))


async def test_the_sessions_are_spread_over_the_servers(cluster: RedisCluster) -> None:
    async with opened(cluster.url, namespace=token_hex(8)) as store:
        sessions = [await begin(store) for _ in range(60)]
        owners = {cluster.owner(slot_of(store, session)).port for session in sessions}
        assert owners == {server.port for server in cluster.servers}


async def test_servers_that_do_not_tell_their_addresses_are_at_the_one_that_was_asked(
    cluster: RedisCluster,
) -> None:
    """As behind a proxy that has a port for each of them."""
    for server in cluster.servers:
        server.command("CONFIG SET cluster-preferred-endpoint-type unknown-endpoint")
    try:
        async with opened(cluster.url, namespace=token_hex(8)) as store:
            sessions = [await begin(store) for _ in range(20)]
            assert len({cluster.owner(slot_of(store, one)).port for one in sessions}) > 1
    finally:
        for server in cluster.servers:
            server.command("CONFIG SET cluster-preferred-endpoint-type ip")


async def test_a_slot_that_has_moved_is_followed_without_an_error(cluster: RedisCluster) -> None:
    async with opened(cluster.url, namespace=token_hex(8)) as store:
        session, records = await filled(store, 3)
        renewer = store.lease_renewer()
        await store.lease(session, owner="a", ttl=60)
        assert list(await asyncio.to_thread(renewer.renew, "a", [session], ttl=60)) == [session]
        slot = slot_of(store, session)
        for to in cluster.servers:
            if to is cluster.owner(slot):
                continue
            await asyncio.to_thread(cluster.move, slot, to)
            assert list(await store.read(session))[:3] == records
            await store.append(session, events(to.port))
            held = await asyncio.to_thread(renewer.renew, "a", [session], ttl=60)
            assert list(held) == [session]
        renewer.close()
        check_tags(await everything(store, session))


async def test_a_closed_lease_renewer_has_no_connections(cluster: RedisCluster) -> None:
    """To no server, although it has renewed at each of them, and with another patience."""
    async with opened(cluster.url, namespace=token_hex(8)) as store:
        sessions = [await begin(store) for _ in range(20)]
        for session in sessions:
            await store.lease(session, owner="a", ttl=60)
        renewer, before = store.lease_renewer(), open_sockets()
        for ttl in (60, 50):
            assert len(renewer.renew("a", sessions, ttl=ttl)) == 20
        assert open_sockets() == before + len(cluster.servers)
        renewer.close()
        assert open_sockets() == before


def open_sockets() -> int:
    return sum(type(one) is socket and one.fileno() >= 0 for one in gc.get_objects())


async def test_while_a_slot_moves_its_sessions_are_unavailable_or_whole(
    cluster: RedisCluster,
) -> None:
    async with opened(cluster.url, namespace=token_hex(8), timeout=0.3) as store:
        session, _ = await recovered(lambda: filled(store, 3))
        slot = slot_of(store, session)
        source = cluster.owner(slot)
        to = next(server for server in cluster.servers if server is not source)
        to.command(f"CLUSTER SETSLOT {slot} IMPORTING {id_of(source)}")
        source.command(f"CLUSTER SETSLOT {slot} MIGRATING {id_of(to)}")
        sent = 0
        while True:
            with suppress(Unavailable):
                await store.append(session, events(sent), key=Key(f"m{sent}", "d"))
                sent += 1
            with suppress(Unavailable):
                check_tags(await everything(store, session))
            if ":0" in source.command(f"CLUSTER COUNTKEYSINSLOT {slot}").split("\r\n"):
                break
            await asyncio.to_thread(cluster.move_keys, slot, source, to, most=1)
        for server in (to, source, *cluster.servers):
            server.command(f"CLUSTER SETSLOT {slot} NODE {id_of(to)}")
        await recovered(lambda: store.append(session, [event("after")], key=Key("after", "d")))
        records = await everything(store, session)
        check_tags(records)
        expected = [*events(1, 2, 3), *events(*range(sent)), event("after")]
        assert [record.data for record in records] == expected

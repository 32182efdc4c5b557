"""A Redis store rings for other nodes in the same step as it appends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agentws.backends.redis import RedisBus, RedisStore
from agentws.bus import GAP, SESSION_CHANNEL
from agentws.store import Key, Settled
from agentws.testing.contract_base import begin, events, eventually
from tests.servers.redis import RedisServer
from tests.stores.redis_stores import opened


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@asynccontextmanager
async def listening(server: RedisServer, session: str) -> AsyncIterator[list[bytes]]:
    """What another node hears of the session, once its subscription is in force."""
    bus = RedisBus(server.url)
    await bus.open()
    heard: list[bytes] = []
    bus.subscribe(SESSION_CHANNEL + session, lambda _, payload: heard.append(payload))

    async def subscribed() -> bool:
        return GAP in heard

    await eventually(subscribed)
    heard.clear()
    yield heard
    await bus.close()


async def until(heard: list[bytes], payload: bytes) -> None:
    async def is_heard() -> bool:
        return payload in heard

    await eventually(is_heard)


@asynccontextmanager
async def opened_with_bus(
    server: RedisServer,
) -> AsyncIterator[tuple[RedisStore, RedisBus]]:
    async with opened(server.url) as store:
        bus = store.default_bus()
        await bus.open()
        yield store, bus
        await bus.close()


async def test_an_append_rings_even_if_its_node_dies_right_after_it(server: RedisServer) -> None:
    async with opened_with_bus(server) as (store, _):
        session = await begin(store)
        async with listening(server, session) as heard:
            # Nothing is published after it.
            await store.append(session, events(1, 2))
            await until(heard, b"2")


async def test_an_append_is_rung_for_once(server: RedisServer) -> None:
    async with opened_with_bus(server) as (store, bus):
        session = await begin(store)
        channel = SESSION_CHANNEL + session
        own: list[bytes] = []
        bus.subscribe(channel, lambda _, payload: own.append(payload))
        async with listening(server, session) as heard:
            for seq in range(1, 11):
                done = await store.append(session, events(seq))
                bus.publish(channel, b"%d" % done.position.seq)
            bus.publish(channel, b"last")
            await until(heard, b"last")
            assert heard == [*(b"%d" % seq for seq in range(1, 11)), b"last"]
            assert [payload for payload in own if payload != GAP][:10] == heard[:10]


async def test_what_is_not_appended_is_not_rung_for(server: RedisServer) -> None:
    async with opened_with_bus(server) as (store, bus):
        session = await begin(store)
        await store.append(session, events(1), key=Key("m1", "d"))
        async with listening(server, session) as heard:
            await store.append(session, events(1), key=Key("m1", "d"))
            await store.append(session, [], settled=Settled(1))
            bus.publish(SESSION_CHANNEL + session, b"last")
            await until(heard, b"last")
            assert heard == [b"last"]


async def test_an_append_that_is_to_be_confirmed_is_rung_for_by_its_node(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "1") as server, RedisServer(tmp_path / "2", replica_of=server):
        async with opened(server.url, durability="replicated", confirmation=10.0) as store:
            bus = store.default_bus()
            await bus.open()
            session = await begin(store)
            async with listening(server, session) as heard:
                await store.append(session, events(1))
                bus.publish(SESSION_CHANNEL + session, b"1")
                await until(heard, b"1")
                await asyncio.sleep(0)
                assert heard == [b"1"]
            await bus.close()


async def test_a_user_who_may_not_publish_can_append(server: RedisServer) -> None:
    async with opened_with_bus(server) as (store, _):
        session = await begin(store)
        server.command("ACL SETUSER default resetchannels")
        assert (await store.append(session, events(1))).position.seq == 1
        server.command("ACL SETUSER default allchannels")

"""A Redis store while its server is full, slow, paused, away, or another one."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agentws.backends.redis import RedisStore
from agentws.errors import AgentwsError, StorageFull, Unavailable
from agentws.store import Key
from agentws.testing.contract_base import (
    begin,
    event,
    events,
    eventually,
    every_call,
    everything,
    filled,
)
from agentws.testing.oracle import check_tags
from agentws.testing.proxy import FaultProxy
from tests.servers.redis import KINDS, RedisServer
from tests.stores.redis_stores import opened, recovered


@pytest.fixture(scope="module", params=KINDS)
def each_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), kind=request.param) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisStore]:
    async with opened(server.url) as store:
        yield store


# Memory


async def test_a_full_server_refuses_an_append_as_a_whole_and_keeps_leases(
    each_server: RedisServer,
) -> None:
    async with opened(each_server.url) as store:
        session, records = await filled(store, 3)
        first = await store.append(session, events("sent"), key=Key("m1", "d1"))
        lease = await store.lease(session, owner="a", ttl=60)
        assert lease is not None
        head = await store.head(session)
        each_server.command("CONFIG SET maxmemory 1")
        try:
            for key in (None, Key("m2", "d2")):
                with pytest.raises(StorageFull):
                    await store.append(session, events(1, 2), key=key, fence=lease.fence)
            with pytest.raises(StorageFull):
                await begin(store)
            assert await store.head(session) == head
            assert list(await store.read(session)) == [*records, *first.records]
            assert await store.find(session, Key("m2", "d2")) is None
            again = await store.append(session, events("sent"), key=Key("m1", "d1"))
            assert (again.duplicate, again.position) == (True, first.position)
            assert await store.renew("a", [session], ttl=60) == [session]
            renewer = store.lease_renewer()
            assert list(await asyncio.to_thread(renewer.renew, "a", [session], ttl=60)) == [session]
            await asyncio.to_thread(renewer.close)
            await store.release(lease)
        finally:
            each_server.command("CONFIG SET maxmemory 0")
        done = await store.append(session, events("later"), key=Key("m2", "d2"))
        assert (done.duplicate, done.position.seq) == (False, 5)


async def test_a_full_server_still_deletes(server: RedisServer, store: RedisStore) -> None:
    session, _ = await filled(store, 3)
    server.command("CONFIG SET maxmemory 1")
    assert await store.delete(session)
    assert list(await store.heads([session])) == [None]


# Scripts


async def test_flushed_scripts_are_loaded_again_without_an_error(each_server: RedisServer) -> None:
    async with opened(each_server.url) as store:
        session, _ = await filled(store, 1)
        await store.lease(session, owner="a", ttl=60)
        renewer = store.lease_renewer()
        for turn in range(3):
            each_server.command("SCRIPT FLUSH")
            await asyncio.gather(
                *(store.append(session, events(f"{turn}.{n}")) for n in range(5)),
                store.heads([session]),
                store.read(session),
            )
            each_server.command("SCRIPT FLUSH")
            assert list(await asyncio.to_thread(renewer.renew, "a", [session], ttl=60))
        await asyncio.to_thread(renewer.close)
        records = await everything(store, session)
        assert len(records) == 16
        check_tags(records)


# Connections


async def test_a_connection_that_was_closed_is_made_again_without_an_error(
    server: RedisServer, store: RedisStore
) -> None:
    session = await begin(store)
    for turn in range(5):
        await asyncio.to_thread(server.command, "CLIENT KILL TYPE normal SKIPME yes")
        assert (await store.append(session, events(turn))).position.seq == turn + 1
        assert len(await store.read(session)) == turn + 1


async def test_no_append_under_a_key_is_lost_or_doubled_when_connections_break(
    server: RedisServer,
) -> None:
    async with FaultProxy(server.port) as proxy, opened(_through(proxy)) as store:
        session = await begin(store)

        async def send(number: int) -> None:
            key = Key(f"m{number}", "d")
            await recovered(lambda: store.append(session, [event(number)], key=key))

        sending = asyncio.gather(*(send(number) for number in range(200)))
        # Not for ever: on a busy machine an append may take longer than a connection lives.
        deadline = time.monotonic() + 2.0
        while not sending.done() and time.monotonic() < deadline:
            proxy.reset()
            await asyncio.sleep(0.005)
        await sending
        records = await everything(store, session)
        check_tags(records)
        assert sorted(record.data for record in records) == sorted(events(*range(200)))


async def test_a_reply_that_was_lost_does_not_answer_another_call(server: RedisServer) -> None:
    async with FaultProxy(server.port) as proxy, opened(_through(proxy), timeout=1.0) as store:
        one, two = await begin(store), await begin(store)
        await store.append(one, events("one"))
        proxy.blackhole("down")
        lost = asyncio.ensure_future(store.read(one))
        with pytest.raises(Unavailable, match="can't be reached"):
            await lost
        proxy.heal()
        assert list(await recovered(lambda: store.read(two))) == []


async def test_a_caller_that_is_cancelled_takes_no_reply_of_another(store: RedisStore) -> None:
    sessions = [(await filled(store, count))[0] for count in range(1, 6)]
    for turn in range(20):
        calls = [asyncio.ensure_future(store.head(session)) for session in sessions]
        for _ in range(turn % 5):
            await asyncio.sleep(0)
        calls[turn % 5].cancel()
        done = await asyncio.gather(*calls, return_exceptions=True)
        for count, head in enumerate(done, start=1):
            if not isinstance(head, BaseException):
                assert head.position.seq == count


# Time


async def test_on_a_slow_server_the_calls_that_wait_share_a_round_trip(
    server: RedisServer,
) -> None:
    async with FaultProxy(server.port) as proxy, opened(_through(proxy)) as store:
        sessions = [await begin(store) for _ in range(20)]
        proxy.delay = 0.25
        started = time.monotonic()
        await asyncio.gather(
            *(store.append(session, events(n)) for session in sessions for n in range(40))
        )
        # One after the other, those of one session alone would take 40 times half a second.
        assert time.monotonic() - started < 20
        proxy.heal()
        assert list(await store.heads(sessions)) == [40] * 20


async def test_a_server_that_is_paused_delays_calls_and_loses_none(
    server: RedisServer, store: RedisStore
) -> None:
    session = await begin(store)
    server.pause()
    appends = [asyncio.ensure_future(store.append(session, events(n))) for n in range(10)]
    await asyncio.sleep(1.0)
    assert not any(append.done() for append in appends)
    server.resume()
    await asyncio.gather(*appends)
    check_tags(await everything(store, session))
    assert (await store.head(session)).position.seq == 10


async def test_calls_to_a_server_that_is_paused_for_long_are_unavailable_in_time(
    server: RedisServer,
) -> None:
    async with opened(server.url, timeout=1.0) as store:
        session, _ = await filled(store, 1)
        await store.lease(session, owner="a", ttl=60)
        renewer = store.lease_renewer()
        renewer.renew("a", [session], ttl=60)
        server.pause()
        started = time.monotonic()
        for _ in range(2):
            with pytest.raises(Unavailable):
                await store.append(session, events("x"), key=Key("m1", "d1"))
        with pytest.raises(Unavailable):
            await asyncio.to_thread(renewer.renew, "a", [session], ttl=1.0)
        assert time.monotonic() - started < 20
        server.resume()
        await recovered(lambda: store.append(session, events("x"), key=Key("m1", "d1")))
        assert (await store.head(session)).position.seq == 2
        assert renewer.renew("a", [session], ttl=60) == [session]
        renewer.close()


async def test_while_its_server_is_away_every_call_is_unavailable_and_then_works_again(
    server: RedisServer, store: RedisStore
) -> None:
    session = await begin(store)
    server.kill()
    for call in (store.ping, lambda: store.head(session), lambda: store.read(session)):
        with pytest.raises(Unavailable, match="can't be reached"):
            await call()
    with pytest.raises(Unavailable, match="can't be reached"):
        await store.append(session, events("x"))
    await asyncio.to_thread(server.start)
    await recovered(store.ping)


# Another server


async def test_a_server_that_was_demoted_is_unavailable_until_it_is_a_primary_again(
    server: RedisServer, store: RedisStore, tmp_path: Path
) -> None:
    session, _ = await filled(store, 1)
    server.command("REPLICAOF 127.0.0.1 1")
    with pytest.raises(Unavailable, match="is a replica"):
        await store.append(session, events("x"))
    with pytest.raises(Unavailable, match="is a replica"):
        await store.available_durability()
    server.command("REPLICAOF NO ONE")
    assert (await store.append(session, events("x"))).position.seq == 2


async def test_an_address_that_leads_to_the_new_primary_is_followed_without_an_error(
    tmp_path: Path,
) -> None:
    with RedisServer(tmp_path / "one") as one, RedisServer(tmp_path / "two", replica_of=one) as two:
        async with opened(one.url, durability="replicated", confirmation=10.0) as store:
            session, records = await filled(store, 3)
        async with FaultProxy(one.port) as proxy, opened(_through(proxy)) as store:
            await store.append(session, [])
            await asyncio.to_thread(two.promote)
            proxy.target = two.address
            one.command(f"REPLICAOF 127.0.0.1 {two.port}")
            done = await store.append(session, events("on the new primary"))
            assert (await everything(store, session)) == [*records, *done.records]


async def test_the_rights_in_the_documentation_are_enough(each_server: RedisServer) -> None:
    page = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()
    [rights] = re.findall(r"`(~\{agentws:\*[^`]+)`", page)
    set_user = await asyncio.to_thread(
        each_server.command, f"ACL SETUSER agentws on >secret {rights}"
    )
    assert set_user.startswith("+OK"), set_user
    url = each_server.url.replace("127.0.0.1", "agentws:secret@127.0.0.1")
    async with opened(url) as store:
        session, _ = await filled(store, 1)
        for name, call in every_call(store, session).items():
            assert await call() is not NotImplemented, name
        assert await store.available_durability() == "process"
        assert await store.beat("n1", instance="i", data=b"", ttl=60)
        bus = store.default_bus()
        await bus.open()
        heard: list[bytes] = []
        bus.subscribe("s:1", lambda _, payload: heard.append(payload))

        async def subscribed() -> bool:
            return heard == [b""]

        await eventually(subscribed)
        await bus.close()


async def test_what_a_server_refuses_reveals_no_internals(server: RedisServer) -> None:
    server.command("ACL SETUSER worker on >secret ~* &* +@all -evalsha")
    url = server.url.replace("127.0.0.1", "worker:secret@127.0.0.1")
    async with opened(url) as store:
        with pytest.raises(Unavailable, match="^The Redis user may not do this.$"):
            await begin(store)
    wrong = RedisStore(url.replace("secret", "wrong"))
    with pytest.raises(Unavailable, match="^The Redis server refused the user or password.$"):
        await wrong.open()
    assert "wrong" not in repr(wrong)


async def test_errors_of_a_store_are_errors_of_agentws(
    server: RedisServer, store: RedisStore
) -> None:
    session = await begin(store)
    server.command(f"SET {{agentws:0}}:l:{session} text")
    with pytest.raises(AgentwsError, match="^The Redis server failed.$"):
        await store.read(session)


def _through(proxy: FaultProxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}/0"

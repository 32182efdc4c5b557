"""What happens when PostgreSQL fails: nothing that was acknowledged is lost or doubled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from agentws.backends.postgres import PostgresStore
from agentws.errors import BadRequest, StorageFull, Unavailable
from agentws.store import Key
from agentws.testing.contract_base import (
    a_session,
    begin,
    event,
    events,
    eventually,
    every_call,
    everything,
)
from agentws.testing.log_check import check_tags
from tests.servers.postgres import DURABLE, How, PostgresServer

from .postgres_schemas import Writers, new_schema, opened, refused, until


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that the tests of this module stop and kill."""
    with PostgresServer(DURABLE) as one:
        yield one


async def test_terminated_connections_fail_no_call_and_double_no_append(
    postgres: PostgresServer,
) -> None:
    schema = new_schema()
    async with opened(postgres.url, schema) as store, opened(postgres.url, schema) as other:
        shared = [await begin(store) for _ in range(4)]
        writers = Writers(store, shared)
        for _ in range(5):
            await writers.more(30)
            assert await asyncio.to_thread(postgres.disconnect_all) > 0
            assert await other.heads(shared[:1]) != [None]
        await writers.stop()
        assert not any(writers.failed.values())
        await writers.check(other)


@pytest.mark.parametrize("how", ["fast", "immediate"])
async def test_a_restarted_server_has_everything_that_was_acknowledged(
    server: PostgresServer, how: How
) -> None:
    async with opened(server.url, timeout=2.0) as store:
        writers = Writers(store, [await begin(store) for _ in range(8)])
        await writers.more()
        await asyncio.to_thread(server.stop, how)
        await until(lambda: all(writers.failed.values()))
        await asyncio.to_thread(server.start)
        await writers.more()
        await writers.stop()
        await writers.check(store)


async def test_a_killed_server_has_everything_that_was_acknowledged(
    server: PostgresServer,
) -> None:
    async with opened(server.url, timeout=2.0) as store:
        assert store.durability == "disk"
        writers = Writers(store, [await begin(store) for _ in range(8)])
        await writers.more()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await writers.more()
        await writers.stop()
        await writers.check(store)


async def test_every_call_to_a_frozen_server_ends_at_its_deadline(server: PostgresServer) -> None:
    async with opened(server.url, timeout=1.0) as store:
        session = await begin(store)
        lease = await store.lease(session, owner="a", ttl=60)
        assert lease is not None
        await store.append(session, [event(1)])
        server.pause()
        try:
            begun = time.monotonic()
            calls = list(every_call(store, session).values())
            errors = await asyncio.gather(*map(refused, calls[:-1]))
            assert time.monotonic() - begun < 20
        finally:
            server.resume()
        assert {str(error) for error in errors} == {"The database can't be reached."}

        async def healed() -> bool:
            try:
                await store.ping()
            except Unavailable:
                return False
            return True

        await eventually(healed, within=20)
        await store.append(session, [event(2)], fence=lease.fence)
        records = await everything(store, session)
        check_tags(records)
        assert records[-1].data == event(2)
        assert len({record.data for record in records}) == len(records)


async def test_a_lease_is_renewed_by_a_thread_or_the_deadline_passes(
    server: PostgresServer,
) -> None:
    async with opened(server.url, timeout=40.0) as store:
        session, other = await begin(store), await begin(store)
        assert await store.lease(session, owner="a", ttl=60) is not None
        renewer = store.lease_renewer()
        wanted = [session, other]

        async def renew(ttl: float) -> Sequence[str]:
            return await asyncio.to_thread(renewer.renew, "a", wanted, ttl=ttl)

        assert list(await renew(60.0)) == [session]
        await asyncio.to_thread(server.disconnect_all)
        assert list(await renew(60.0)) == [session]
        server.pause()
        try:
            begun = time.monotonic()
            assert isinstance(await refused(lambda: renew(1.0)), Unavailable)
            assert time.monotonic() - begun < 20
        finally:
            server.resume()
        assert list(await renew(60.0)) == [session]
        await asyncio.to_thread(renewer.close)
        await asyncio.to_thread(renewer.close)


async def test_a_session_that_another_program_locks_delays_no_other_session(
    postgres: PostgresServer,
) -> None:
    schema = new_schema()
    async with opened(postgres.url, schema, timeout=5.0) as store:
        locked, free = await begin(store), await begin(store)
        with psycopg.connect(postgres.url) as program:
            program.execute(f"SELECT FROM {schema}.session WHERE id = %s FOR UPDATE", (locked,))
            waiting = asyncio.ensure_future(refused(lambda: store.append(locked, [event(1)])))
            later = asyncio.ensure_future(store.append(locked, [event(2)]))
            for _ in range(5):
                await asyncio.gather(*(store.append(free, [event(n)]) for n in range(5)))
            assert not waiting.done()
            assert str(await waiting) == "The session is locked by another program."
            program.rollback()
            assert (await later).position.seq == 1
        await store.append(locked, [event(3)])
        check_tags(await everything(store, locked))


async def test_without_a_free_connection_a_call_ends_at_its_deadline(
    postgres: PostgresServer,
) -> None:
    schema = new_schema()
    async with opened(postgres.url, schema, pool_size=1, timeout=1.0) as store:
        session = await begin(store)
        with psycopg.connect(postgres.url) as program:
            program.execute(f"SELECT FROM {schema}.session WHERE id = %s FOR UPDATE", (session,))
            calls = [lambda: store.lease(session, owner="a", ttl=9), store.ping, store.ping]
            assert len(await asyncio.gather(*map(refused, calls))) == 3
        await store.ping()


async def test_a_frozen_node_keeps_no_other_node_from_a_session(postgres: PostgresServer) -> None:
    """Its statement was sent, and its answer is never read."""
    schema = new_schema()
    async with opened(postgres.url, schema) as store:
        session = await begin(store)
        frozen = psycopg.connect(postgres.url, autocommit=True)
        query = f"SELECT * FROM {schema}.take_lease('{session}', 'frozen', 0.01)"
        frozen.pgconn.send_query(query.encode())
        frozen.pgconn.flush()
        await store.append(session, [event(1)])
        await eventually(lambda: store.lease(session, owner="b", ttl=60))
        frozen.close()


FAILING = """
    CREATE SEQUENCE {schema}.failures;
    CREATE FUNCTION {schema}.fail() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('{schema}.failures') <= {times} THEN
            RAISE EXCEPTION 'made to fail' USING ERRCODE = '{state}';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER failing BEFORE INSERT ON {schema}.event
    FOR EACH ROW EXECUTE FUNCTION {schema}.fail();
"""
"""Fails the first insertions of events; a sequence keeps its number when a transaction fails."""


def make_failing(server: PostgresServer, schema: str, *, state: str, times: int) -> None:
    for statement in FAILING.format(schema=schema, state=state, times=times).split(";\n    CREATE"):
        create = "" if statement.lstrip().startswith("CREATE") else "CREATE"
        server.query(create + statement)


@pytest.mark.parametrize("state", ["40001", "40P01"], ids=["serialization", "deadlock"])
async def test_a_transaction_that_lost_a_race_is_made_again(
    postgres: PostgresServer, state: str
) -> None:
    schema = new_schema()
    async with opened(postgres.url, schema) as store:
        session = await begin(store)
        make_failing(postgres, schema, state=state, times=3)
        assert (await store.append(session, [event(1)])).position.seq == 1
        assert [record.data for record in await store.read(session)] == [event(1)]


async def test_a_transaction_that_loses_every_race_is_unavailable(
    postgres: PostgresServer,
) -> None:
    schema = new_schema()
    async with opened(postgres.url, schema) as store:
        session = await begin(store)
        make_failing(postgres, schema, state="40001", times=4)
        await refused(lambda: store.append(session, [event(1)]))
        assert (await store.append(session, [event(2)])).position.seq == 1


async def test_a_full_disk_refuses_appends_and_nothing_else(postgres: PostgresServer) -> None:
    """The server's own error for it, raised by a trigger."""
    schema = new_schema()
    async with opened(postgres.url, schema) as store:
        session, other = await begin(store), await begin(store)
        await store.append(session, [event(1)])
        make_failing(postgres, schema, state="53100", times=1000)
        appends = [store.append(one, [event(2)], key=Key("k", "d")) for one in (session, other)]
        outcomes = await asyncio.gather(*appends, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StorageFull, StorageFull]
        assert [record.data for record in await store.read(session)] == [event(1)]
        assert await store.lease(session, owner="a", ttl=60) is not None
        postgres.query(f"DROP TRIGGER failing ON {schema}.event")
        done = await store.append(session, [event(2)], key=Key("k", "d"))
        assert (done.duplicate, done.position.seq) == (False, 2)


async def test_of_a_group_of_appends_only_those_fail_that_can_not_be_made(
    postgres: PostgresServer,
) -> None:
    async with opened(postgres.url) as store:
        sessions = [await begin(store) for _ in range(3)]
        keys = [None, Key("nul \x00", "d"), Key("k", "d")]
        outcomes = await asyncio.gather(
            *(
                store.append(one, [event(1)], key=key)
                for one, key in zip(sessions, keys, strict=True)
            ),
            return_exceptions=True,
        )
        assert [isinstance(outcome, BadRequest) for outcome in outcomes] == [False, True, False]
        assert list(await store.heads(sessions)) == [1, 0, 1]


def lose_the_answer(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next statement with appends is committed, and its connection lost before the answer."""
    appends = store._appends
    send = appends._send
    lost = False

    async def lossy(plans: Any, connection: Any, uncertain: bool) -> Any:
        nonlocal lost
        rows = await send(plans, connection, uncertain)
        if not lost:
            lost = True
            await connection.close()
            raise psycopg.OperationalError("lost")
        return rows

    monkeypatch.setattr(appends, "_send", lossy)


@pytest.mark.parametrize("key", [None, Key("k", "d")], ids=["without a key", "with a key"])
async def test_an_append_whose_answer_was_lost_is_not_made_again(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, key: Key | None
) -> None:
    """The retry finds what the first attempt has written, by its tag."""
    async with opened(postgres.url) as store:
        session = await begin(store)
        lease = await store.lease(session, owner="a", ttl=60)
        assert lease is not None
        lose_the_answer(store, monkeypatch)
        done = await store.append(session, events(1, 2), key=key, fence=lease.fence, expect=0)
        assert (done.duplicate, done.position.seq) == (False, 2)
        assert list(await everything(store, session)) == list(done.records)
        await store.append(session, events(3))
        check_tags(await everything(store, session))


async def test_a_key_alone_whose_answer_was_lost_is_not_said_to_be_anothers(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(postgres.url) as store:
        session = await begin(store)
        lose_the_answer(store, monkeypatch)
        error = await refused(lambda: store.append(session, [], key=Key("claim", "d")))
        assert "may have been made" in str(error)


async def test_a_session_is_made_by_the_call_whose_acknowledgement_was_lost(
    postgres: PostgresServer,
) -> None:
    async with opened(postgres.url) as store:
        info = a_session(owner="ada")
        assert await store.create(info, epoch="mine") == (info, True)
        assert await store.create(info, epoch="mine") == (info, True)
        assert await store.create(info, epoch="other") == (info, False)


async def test_a_server_that_is_not_there_is_unavailable_at_once(postgres: PostgresServer) -> None:
    url = f"postgresql://postgres@127.0.0.1:{1}/postgres"
    async with asyncio.timeout(20):
        error = await refused(lambda: opened(url).__aenter__())
    assert str(error) == "The database can't be reached."

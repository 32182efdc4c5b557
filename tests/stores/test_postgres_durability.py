"""Which durability the PostgreSQL store says, and what a failover and an old backup do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from agentws.backends.postgres import PostgresStore
from agentws.errors import Fenced, PositionLost, Unavailable
from agentws.protocol.position import Position
from agentws.store import Key
from agentws.testing.contract_base import begin, event, events, eventually, everything
from agentws.testing.log_check import check_tags
from tests.processes import wait_until
from tests.servers.postgres import DURABLE, PostgresServer

from .postgres_schemas import Writers, new_schema, opened, refused, until


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(DURABLE) as one:
        yield one


async def test_a_server_that_does_not_wait_for_its_disk_is_said_to_be_one(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "agentws"):
        async with opened(postgres.url) as store:
            assert store.durability == "process"
            assert await store.available_durability() == "process"
    assert "durability is only 'process'" in caplog.text


async def test_a_durability_that_the_server_does_not_meet_is_refused(
    postgres: PostgresServer, server: PostgresServer
) -> None:
    for one, wanted, met in ((postgres, "disk", "process"), (server, "replicated", "disk")):
        error = await refused(lambda: opened(one.url, durability=wanted).__aenter__())  # noqa: B023
        assert str(error) == (
            f"The server is configured for durability {met}, but {wanted} is required."
        )
    async with opened(server.url, durability="disk") as store:
        assert (store.durability, await store.available_durability()) == ("disk", "disk")


async def weakened(store: PostgresStore) -> bool:
    return await store.available_durability() == "process"


async def test_a_setting_that_was_weakened_later_is_reported(server: PostgresServer) -> None:
    async with opened(server.url) as store:
        server.query("ALTER SYSTEM SET synchronous_commit = off")
        server.query("SELECT pg_reload_conf()")
        try:
            await eventually(lambda: weakened(store), within=20)
        finally:
            server.query("ALTER SYSTEM RESET synchronous_commit")
            server.query("SELECT pg_reload_conf()")


async def test_with_a_synchronous_standby_nothing_acknowledged_is_lost_by_a_failover() -> None:
    with PostgresServer(DURABLE) as primary, primary.standby("one") as standby:
        primary.query("ALTER SYSTEM SET synchronous_standby_names = 'one'")
        primary.query("SELECT pg_reload_conf()")
        # The server reads its settings a moment later.
        wait_until(lambda: synchronous_standbys(primary) == 1)
        both = (
            f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"
            "?target_session_attrs=read-write"
        )
        async with opened(both, durability="replicated", timeout=2.0) as store:
            assert await store.available_durability() == "replicated"
            session = await begin(store)
            standby.pause()
            key = Key("m1", "d1")
            error = await refused(lambda: store.append(session, events(1), key=key))
            assert isinstance(error, Unavailable), "not acknowledged without the standby"
            standby.resume()
            again = await store.append(session, events(1), key=key)
            assert (again.duplicate, again.position.seq) == (True, 1), "it was made once"
            writers = Writers(store, [await begin(store) for _ in range(4)])
            await writers.more()
            await asyncio.to_thread(primary.kill)
            await until(lambda: any(writers.failed.values()))
            standby.query("SELECT pg_promote()")
            await writers.more()
            await writers.stop()
            await writers.check(store)
            assert [record.data for record in await store.read(session)] == events(1)


def synchronous_standbys(server: PostgresServer) -> int:
    """How many there are for a connection that is made from now on."""
    if server.query("SHOW synchronous_standby_names") == [("",)]:
        return 0
    return len(server.query("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"))


async def test_a_standby_is_refused_by_itself() -> None:
    with PostgresServer() as primary, primary.standby("one") as standby:
        async with opened(primary.url):
            error = await refused(lambda: opened(standby.url).__aenter__())
        assert str(error) == "The server is a standby, which can't be written to."


async def test_positions_from_after_an_old_backup_are_lost_and_never_match_another_history() -> (
    None
):
    schema = new_schema()
    with PostgresServer() as server:
        async with opened(server.url, schema) as store:
            session = await begin(store)
            await store.append(session, events(1, 2))
            old = (await store.head(session)).position
            lease = await store.lease(session, owner="a", ttl=0.01)
            assert lease is not None
            await asyncio.to_thread(server.save, "night")
            done = await store.append(session, events("lost", "too"), key=Key("m1", "d1"))
            newer = await store.lease(session, owner="b", ttl=60)
            assert newer is not None
            await asyncio.to_thread(server.restore, "night")
            with pytest.raises(PositionLost) as lost:
                await store.read(session, after=done.position)
            assert lost.value.reason == "future"
            # The same store, which remembers the end of the log from before.
            await store.append(session, events("another", "history"))
            with pytest.raises(PositionLost) as lost:
                await store.read(session, after=done.position)
            assert lost.value.reason == "diverged"
            with pytest.raises(Fenced):
                await store.append(session, events("stale"), fence=newer.fence)
            again = await store.append(session, events("once more"), key=Key("m1", "d1"))
            assert not again.duplicate
            kept = await store.read(session, after=Position(old.epoch, old.seq, old.tag))
            assert [record.data for record in kept][:2] == events("another", "history")
            check_tags(await everything(store, session))
            assert event("lost") not in {record.data for record in await store.read(session)}

"""What a Redis store keeps when its server dies, and what it refuses to promise."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from agentws.backends.redis import RedisStore
from agentws.errors import Fenced, Misconfigured, NotFound, PositionLost, Unavailable
from agentws.protocol.codec import Record
from agentws.protocol.position import Position
from agentws.store import Key
from agentws.testing.contract_base import (
    a_session,
    begin,
    events,
    eventually,
    everything,
    filled,
)
from agentws.testing.oracle import check_tags
from tests.servers.redis import KINDS, OLDEST, REDIS, VALKEY, RedisServer
from tests.stores.redis_stores import opened, recovered

ON_DISK = {"appendonly": "yes", "appendfsync": "always"}
EVERY_SECOND = {"appendonly": "yes", "appendfsync": "everysec"}


PATIENT: Final = 10.0
"""Seconds in which a replica confirms an append, on a machine that is busy."""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary and its replica."""
    with RedisServer(tmp_path / "primary") as primary:
        with RedisServer(tmp_path / "replica", replica_of=primary) as replica:
            yield primary, replica


def position(record: Record) -> Position:
    return Position("e1", record.seq, record.tag)


# The death of the server


async def test_a_log_on_disk_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    with RedisServer(tmp_path, settings=ON_DISK) as server:
        async with opened(server.url, durability="disk") as store:
            session, records = await filled(store, 5)
            lease = await store.lease(session, owner="a", ttl=60)
            assert lease is not None
            first = await store.append(session, events("sent"), key=Key("m1", "d1"))
            await asyncio.to_thread(server.restart)
            again = await recovered(
                lambda: store.append(session, events("sent"), key=Key("m1", "d1"))
            )
            assert (again.duplicate, again.position) == (True, first.position)
            assert await store.lease(session, owner="b", ttl=60) is None
            await store.append(session, events("more"), fence=lease.fence)
            assert list(await store.read(session, after=position(records[-1])))[0].seq == 6
            check_tags(await everything(store, session))


async def test_a_log_in_memory_is_lost_with_the_server_and_its_positions_say_so(
    tmp_path: Path,
) -> None:
    with RedisServer(tmp_path) as server:
        async with opened(server.url) as store:
            info = a_session()
            await store.create(info, epoch="e1")
            done = await store.append(info.id, events("a", "b"))
            lease = await store.lease(info.id, owner="a", ttl=60)
            assert lease is not None
            await asyncio.to_thread(server.restart)
            with pytest.raises(NotFound):
                await recovered(lambda: store.info(info.id))
            # A holder of the lost log's lease must not begin another one.
            with pytest.raises(NotFound):
                await store.append(info.id, events("late"), fence=lease.fence)
            await store.create(info, epoch="e2")
            with pytest.raises(Fenced):
                await store.append(info.id, events("late"), fence=lease.fence)
            with pytest.raises(PositionLost) as lost:
                await store.read(info.id, after=done.position)
            assert lost.value.reason == "epoch"


# A failover


async def test_after_a_failover_to_a_replica_behind_exactly_the_positions_past_the_cut_are_lost(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    primary, replica = pair
    async with opened(primary.url, durability="replicated", confirmation=PATIENT) as store:
        session, kept = await filled(store, 3)
    async with opened(primary.url) as store:
        replica.pause()
        primary.command("CLIENT KILL TYPE replica")
        lost = (await store.append(session, events("x", "y", "z"))).records
        primary.kill()
        replica.resume()
        await asyncio.to_thread(replica.promote)
    async with opened(replica.url) as store:
        with pytest.raises(PositionLost) as ahead:
            await store.read(session, after=position(lost[-1]))
        assert ahead.value.reason == "future"
        await store.append(session, events("other", "history", "goes", "on"))
        for record in lost:
            with pytest.raises(PositionLost) as gone:
                await store.read(session, after=position(record))
            assert gone.value.reason == "diverged"
        for record in kept:
            page = await store.read(session, after=position(record))
            assert [one.seq for one in page] == list(range(record.seq + 1, 8))
        check_tags(await everything(store, session))


async def test_an_append_that_is_not_replicated_in_time_is_not_acknowledged_and_not_doubled(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    primary, replica = pair
    async with opened(primary.url, durability="replicated", confirmation=PATIENT) as store:
        session, _ = await filled(store, 2)
    async with opened(primary.url, durability="replicated", confirmation=0.3) as store:
        replica.pause()
        with pytest.raises(Unavailable, match="not replicated"):
            await store.append(session, events("sent"), key=Key("m1", "d1"))
        # A duplicate must be as durable as the append that it stands for.
        with pytest.raises(Unavailable, match="not replicated"):
            await store.append(session, events("sent"), key=Key("m1", "d1"))
        with pytest.raises(Unavailable, match="not replicated"):
            await store.lease(session, owner="a", ttl=60)
        # Nothing that is only read waits.
        assert len(await store.read(session)) == 3
        replica.resume()
        again = await recovered(lambda: store.append(session, events("sent"), key=Key("m1", "d1")))
        assert (again.duplicate, again.position.seq) == (True, 3)


async def test_what_was_acknowledged_as_replicated_survives_every_failover(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    primary, replica = pair
    async with opened(primary.url, durability="replicated", confirmation=PATIENT) as store:
        session = await begin(store)
        acknowledged = [await store.append(session, events(n)) for n in range(50)]
        primary.kill()
        await asyncio.to_thread(replica.promote)
    async with opened(replica.url) as store:
        records = await everything(store, session)
        assert [position(one) for one in records] == [one.position for one in acknowledged]


# What is refused at the start


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
async def test_a_server_that_evicts_logs_is_refused(tmp_path: Path, policy: str) -> None:
    with RedisServer(tmp_path, settings={"maxmemory-policy": policy}) as server:
        await _refused(server, f"evicts sessions when its memory is full [(]{policy}[)]")


async def test_a_server_that_evicts_leases_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer(tmp_path, settings={"maxmemory-policy": "volatile-lru"}) as server:
        async with opened(server.url):
            assert "evicts leases when its memory is full (volatile-lru)" in caplog.text


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(REDIS, {}), (VALKEY, {}), (OLDEST, EVERY_SECOND)],
    ids=["no file", "no file on Valkey", "no WAITAOF"],
)
async def test_a_server_that_can_not_confirm_its_disk_is_refused_for_disk(
    tmp_path: Path, kind: str, settings: dict[str, str]
) -> None:
    with RedisServer(tmp_path, kind=kind, settings=settings) as server:
        await _refused(server, "can't confirm that an append is on its disk", durability="disk")


async def test_a_server_without_replicas_is_refused_for_replicated(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        # They may come: a node that starts tries again.
        message = "has 0 connected replicas"
        await _refused(server, message, refusal=Unavailable, durability="replicated")


async def test_sessions_of_another_layout_are_refused(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        server.command("SET {agentws:0}:layout 99")
        await _refused(server, "have layout 99")


async def test_a_server_that_is_away_is_refused_without_its_address(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        url = server.url
    with pytest.raises(Unavailable, match="^The Redis server can't be reached.$") as refused:
        await RedisStore(url).open()
    assert str(server.port) not in str(refused.value)


async def _refused(
    server: RedisServer,
    message: str,
    *,
    refusal: type[Unavailable] = Misconfigured,
    **options: Any,
) -> None:
    store = RedisStore(server.url, **options)
    with pytest.raises(refusal, match=message):
        await store.open()
    # It holds no connection.
    with pytest.raises(Unavailable, match="not open"):
        await store.ping()


# What is available now


@pytest.mark.parametrize("kind", KINDS)
async def test_an_append_on_disk_is_confirmed_by_every_kind_of_server(
    tmp_path: Path, kind: str
) -> None:
    settings = EVERY_SECOND if kind == VALKEY else ON_DISK
    with RedisServer(tmp_path, kind=kind, settings=settings) as server:
        async with opened(server.url, durability="disk", confirmation=PATIENT) as store:
            assert await store.available_durability() == "disk"
            session, records = await filled(store, 2)
            server.kill()
            await asyncio.to_thread(server.start)
            assert await recovered(lambda: everything(store, session)) == records


async def test_a_durability_that_can_not_be_met_any_more_is_not_available(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    primary, replica = pair
    async with opened(primary.url, durability="replicated", confirmation=PATIENT) as store:
        assert await store.available_durability() == "replicated"
        replica.kill()

        async def noticed() -> bool:
            return await store.available_durability() == "process"

        await eventually(noticed)
        primary.kill()
        with pytest.raises(Unavailable):
            await store.available_durability()

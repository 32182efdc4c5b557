"""The SQLite store beyond the contract: group commits and failures."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentws.backends.sqlite import SQLiteStore
from agentws.errors import Fenced, StorageFull, Unavailable
from agentws.store import Key, Settled
from agentws.testing.contract_base import (
    begin,
    event,
    events,
    everything,
    filled,
)
from agentws.testing.oracle import check_tags

from .conftest import another_program


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds the write lock."""
    with another_program(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


# Groups


def size(file: str) -> int:
    return os.stat(file).st_size


def commits(path: Path) -> int:
    """Transactions in the write-ahead log: frames whose header names a database size."""
    wal = Path(f"{path}-wal").read_bytes()
    page = int.from_bytes(wal[8:12], "big")
    salts, headers = wal[16:24], range(32, len(wal), 24 + page)
    ours = [wal[at : at + 24] for at in headers if wal[at + 8 : at + 16] == salts]
    return sum(header[4:8] != b"\0\0\0\0" for header in ours)


async def test_queued_appends_are_committed_in_one_transaction(
    path: Path, store: SQLiteStore
) -> None:
    sessions = [await begin(store) for _ in range(10)]
    before = commits(path)
    with locked(path):
        appends = [
            asyncio.ensure_future(store.append(session, [event(n)]))
            for n in range(10)
            for session in sessions
        ]
        await asyncio.sleep(0.05)
    await asyncio.gather(*appends)
    # One for the calls taken before the lock was met, one for all that were queued meanwhile.
    assert 1 <= commits(path) - before <= 2
    for session in sessions:
        records = await store.read(session)
        assert [record.data for record in records] == events(*range(10))
        check_tags(records)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 63, 127, 128, 129, 145, 300])
async def test_any_number_of_events_is_written_whole(store: SQLiteStore, count: int) -> None:
    session, records = await filled(store, count)
    assert [record.data for record in records] == events(*range(1, count + 1))
    assert await everything(store, session) == records


async def test_the_statements_of_a_group_are_few(path: Path, store: SQLiteStore) -> None:
    sessions = [await begin(store) for _ in range(50)]
    statements: list[str] = []
    await store._write(lambda connection: connection.set_trace_callback(statements.append))
    with locked(path):
        appends = [asyncio.ensure_future(store.append(sessions[0], events(0)))]
        await asyncio.sleep(0.05)
        appends += [
            asyncio.ensure_future(store.append(session, events(1), key=Key("m1", "d1")))
            for session in sessions
        ]
        # All of them wait before the lock is free, or the writer would take some as a group.
        await asyncio.sleep(0)
    await asyncio.gather(*appends)
    group = statements[len(statements) - statements[::-1].index("COMMIT", 1) :]
    kinds = [statement.split()[0] for statement in group]
    assert kinds == ["BEGIN", "SELECT", "INSERT", "INSERT", "UPDATE", "INSERT", "COMMIT"]


async def test_an_append_does_not_rewrite_the_carried_state(path: Path, store: SQLiteStore) -> None:
    session = await begin(store)
    await store.append(session, [event(0)], settled=Settled(1, b"x" * 300_000))
    before = size(f"{path}-wal")
    for n in range(5):
        await store.append(session, [event(n)])
    assert size(f"{path}-wal") - before < 200_000
    assert (await store.head(session)).settled == Settled(1, b"x" * 300_000)


async def test_a_cancelled_append_does_not_affect_the_others_of_its_group(
    path: Path, store: SQLiteStore
) -> None:
    session = await begin(store)
    with locked(path):
        appends = [asyncio.ensure_future(store.append(session, [event(n)])) for n in range(20)]
        await asyncio.sleep(0.05)
        for append in appends[::2]:
            append.cancel()
        await asyncio.sleep(0)
    done = await asyncio.gather(*appends[1::2])
    assert [append.cancelled() for append in appends[::2]] == [True] * 10
    records = await everything(store, session)
    assert {appended.records[0] for appended in done} <= set(records)
    check_tags(records)


async def test_a_failing_call_does_not_affect_the_others_of_its_group(
    path: Path, store: SQLiteStore
) -> None:
    session = await begin(store)
    with locked(path):
        calls = [
            asyncio.ensure_future(call)
            for call in (
                store.append(session, [event(1)]),
                store.append("\ud800", [event(2)]),
                store.append(session, [event(3)], fence="e0:1"),
                store.update(session, metadata={"not": object()}),
                store.append(session, [event(4)]),
            )
        ]
        await asyncio.sleep(0.05)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "Appended",
        "UnicodeEncodeError",
        "Fenced",
        "TypeError",
        "Appended",
    ]
    assert [record.data for record in await store.read(session)] == events(1, 4)


async def test_a_long_read_delays_no_append(store: SQLiteStore) -> None:
    session = await begin(store)
    reading, proceed = threading.Event(), threading.Event()

    def long_read(connection: sqlite3.Connection) -> int:
        seen = connection.execute("SELECT count(*) FROM event").fetchone()[0]
        reading.set()
        proceed.wait(30)
        assert connection.execute("SELECT count(*) FROM event").fetchone()[0] == seen
        return int(seen)

    read = asyncio.ensure_future(store._read(long_read))
    await asyncio.to_thread(reading.wait, 30)
    for n in range(20):
        await store.append(session, [event(n)])
    proceed.set()
    assert await read == 0
    assert (await store.head(session)).position.seq == 20


async def test_the_reading_connection_cannot_write(store: SQLiteStore) -> None:
    session = await begin(store)
    with pytest.raises(Unavailable):
        await store._read(lambda connection: connection.execute("DELETE FROM session"))
    await store.info(session)


# Failures


async def test_an_append_that_waits_for_a_lock_does_not_block_the_loop(path: Path) -> None:
    """Nor the reads: a loop that is blocked would end the append before the test goes on."""
    store = SQLiteStore(path, busy_timeout=30.0)
    await store.open()
    session, records = await filled(store, 2)
    with locked(path):
        append = asyncio.ensure_future(store.append(session, [event(3)]))
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert list(await store.read(session)) == records
        assert not append.done()
    assert (await append).position.seq == 3
    await store.close()


async def test_waiting_for_a_lock_is_bounded(path: Path) -> None:
    store = SQLiteStore(path, busy_timeout=0.5)
    await store.open()
    session, _ = await filled(store, 2)
    with locked(path):
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="locked"):
            await store.append(session, [event(3)])
        assert time.monotonic() - begun > 0.4
    assert (await store.append(session, [event(3)])).position.seq == 3
    await store.close()


async def test_a_full_disk_refuses_writes_and_recovers(store: SQLiteStore) -> None:
    session, records = await filled(store, 3)
    full = await _limit_pages(store, lambda pages: pages)
    big = [b'{"event":{"type":"RAW","event":"%b"}}' % (b"x" * 50_000)]
    for _ in range(3):
        with pytest.raises(StorageFull):
            await store.append(session, big, key=Key("m1", "d1"))
    assert list(await store.read(session)) == records
    outcomes = await asyncio.gather(
        *(store.append(session, big) for _ in range(3)),
        store.lease(session, owner="a", ttl=60),
        return_exceptions=True,
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["StorageFull"] * 3 + ["Lease"]

    await _limit_pages(store, lambda pages: full + 1000)
    done = await store.append(session, big, key=Key("m1", "d1"))
    assert (done.duplicate, done.position.seq) == (False, 4)
    check_tags(await store.read(session))


async def _limit_pages(store: SQLiteStore, limit: Callable[[int], int]) -> int:
    def set_limit(connection: sqlite3.Connection) -> int:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {limit(pages)}")
        return int(pages)

    return await store._write(set_limit)


def lose(file: str, *, replaced: bool) -> None:
    if replaced:
        # The copy is made while the original is there, so that it is another file for certain.
        shutil.copy(file, f"{file}.copy")
        os.replace(f"{file}.copy", file)
    else:
        os.unlink(file)


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("replaced", [False, True])
async def test_a_deleted_or_replaced_file_makes_the_store_unavailable(
    path: Path, store: SQLiteStore, suffix: str, replaced: bool
) -> None:
    session, _ = await filled(store, 3)
    lose(f"{path}{suffix}", replaced=replaced)
    for call in (
        lambda: store.append(session, [event(4)]),
        lambda: store.read(session),
        store.ping,
    ):
        with pytest.raises(Unavailable) as failure:
            await call()
        assert path.name not in str(failure.value)
    assert (f"{path.name}{suffix}" in os.listdir(path.parent)) == replaced


async def test_an_old_fencing_token_is_refused_across_connections(
    path: Path, store: SQLiteStore
) -> None:
    session = await begin(store)
    first = await store.lease(session, owner="a", ttl=600)
    assert first is not None
    other = SQLiteStore(path)
    await other.open()
    await other.release(first)
    assert await other.lease(session, owner="b", ttl=600) is not None
    await other.close()
    with pytest.raises(Fenced):
        await store.append(session, [event(1)], fence=first.fence)

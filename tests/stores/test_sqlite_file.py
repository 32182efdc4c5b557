"""What is true of the SQLite store beyond the contract: its file, its groups, its failures."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import msgspec
import pytest

from agentws.backends.sqlite import SQLiteStore
from agentws.backends.sqlite_schema import _enter_wal
from agentws.errors import Fenced, NotFound, StorageFull, Unavailable
from agentws.store import Key, Settled
from agentws.testing.contract_base import (
    a_session,
    begin,
    event,
    events,
    every_call,
    everything,
    filled,
)
from agentws.testing.oracle import check_tags


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path)
    await store.open()
    yield store
    await store.close()


def contents(path: Path) -> bytes:
    return path.read_bytes()


def write_over(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@contextmanager
def another_program(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program is in the middle of a write."""
    with another_program(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def refusal(path: Path) -> str:
    """The one line with which a store at ``path`` refuses to open. It leaves no thread behind."""
    before = set(threading.enumerate())
    with pytest.raises(Unavailable) as refused:
        await SQLiteStore(path, busy_timeout=0.1).open()
    line = str(refused.value)
    assert "\n" not in line
    assert path.name not in line
    for thread in set(threading.enumerate()) - before:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
    return line


# Opening and closing


async def test_reopening_keeps_everything(path: Path, store: SQLiteStore) -> None:
    info = a_session(owner="ada")
    await store.create(info, epoch="e1")
    await store.append(
        info.id, events(1, 2, 3), key=Key("m1", "d1"), settled=Settled(2, b"\0carried\xff")
    )
    lease = await store.lease(info.id, owner="a", ttl=600)
    assert lease is not None
    used = await begin(store)
    await store.delete(used)
    known = [await store.info(info.id), await store.head(info.id), await store.read(info.id)]
    await store.close()

    again = SQLiteStore(path)
    await again.open()
    assert known == [
        await again.info(info.id),
        await again.head(info.id),
        await again.read(info.id),
    ]
    assert (await again.append(info.id, events(1), key=Key("m1", "d1"))).duplicate
    await again.append(info.id, events(4), fence=lease.fence)
    assert await again.lease(info.id, owner="b", ttl=1) is None
    with pytest.raises(NotFound):
        await again.create(msgspec.structs.replace(info, id=used), epoch="e2")
    check_tags(await everything(again, info.id))
    await again.close()


async def test_closing_leaves_one_file(path: Path, store: SQLiteStore) -> None:
    await filled(store, 3)
    await store.close()
    assert os.listdir(path.parent) == [path.name]


async def test_closing_finishes_what_is_under_way(path: Path, store: SQLiteStore) -> None:
    session = await begin(store)
    appends = [asyncio.ensure_future(store.append(session, [event(n)])) for n in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert {append.result().position.seq for append in appends} == set(range(1, 51))


async def test_before_open_and_after_close_it_is_unavailable(path: Path) -> None:
    store = SQLiteStore(path)
    for _ in range(2):
        for call in every_call(store, "s").values():
            with pytest.raises(Unavailable):
                await call()
        await store.open()
        await store.open()
        await store.ping()
        await store.close()


async def test_first_starts_may_meet(path: Path) -> None:
    stores = [SQLiteStore(path) for _ in range(6)]
    await asyncio.gather(*(store.open() for store in stores))
    session, records = await filled(stores[0], 2)
    for store in stores:
        assert list(await store.read(session)) == records
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_recovery_by_another_process_is_waited_for() -> None:
    """SQLite tells it apart from other locks, in the bits above those of the plain code."""

    class Recovering:
        tries = 0

        def execute(self, _: str) -> Recovering:
            self.tries += 1
            if self.tries < 3:
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
                raise error
            return self

        def fetchone(self) -> tuple[str]:
            return ("wal",)

    connection = Recovering()
    _enter_wal(cast("sqlite3.Connection", connection), 30.0)
    assert connection.tries == 3


async def test_a_newer_schema_is_refused(path: Path, store: SQLiteStore) -> None:
    await store.close()
    with another_program(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert "newer agentws" in await refusal(path)


async def test_another_programs_database_is_refused_untouched(path: Path) -> None:
    with another_program(path) as connection:
        connection.execute("CREATE TABLE session (mine)")
    before = contents(path)
    assert "another program" in await refusal(path)
    assert contents(path) == before


async def test_what_is_not_a_database_is_refused(path: Path, tmp_path: Path) -> None:
    write_over(path, b"something else entirely" * 1000)
    assert "not a database" in await refusal(path)
    assert "can't be opened" in await refusal(tmp_path)
    assert "can't be opened" in await refusal(tmp_path / "nowhere" / "sessions.db")


def test_durability_is_what_synchronous_makes_it(path: Path) -> None:
    assert SQLiteStore(path).durability == "disk"
    assert SQLiteStore(path, synchronous="NORMAL").durability == "process"
    with pytest.raises(ValueError, match="synchronous"):
        SQLiteStore(path, synchronous="OFF; DROP")  # type: ignore[arg-type]


# Groups


def commits(path: Path) -> int:
    """Transactions in the write-ahead log: frames whose header names a database size."""
    wal = Path(f"{path}-wal").read_bytes()
    page = int.from_bytes(wal[8:12], "big")
    salts, headers = wal[16:24], range(32, len(wal), 24 + page)
    ours = [wal[at : at + 24] for at in headers if wal[at + 8 : at + 16] == salts]
    return sum(header[4:8] != b"\0\0\0\0" for header in ours)


async def test_what_is_queued_is_committed_together(path: Path, store: SQLiteStore) -> None:
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
    # One for what was taken before the lock was met, one for all that came meanwhile.
    assert 1 <= commits(path) - before <= 2
    for session in sessions:
        records = await store.read(session)
        assert [record.data for record in records] == events(*range(10))
        check_tags(records)


async def test_a_cancelled_caller_does_not_break_its_group(path: Path, store: SQLiteStore) -> None:
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


async def test_a_broken_call_leaves_its_group_alone(path: Path, store: SQLiteStore) -> None:
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


async def test_a_lock_is_waited_for_within_bounds_off_the_loop(
    path: Path,
) -> None:
    store = SQLiteStore(path, busy_timeout=1.0)
    await store.open()
    session, records = await filled(store, 2)
    gaps = []
    with locked(path):
        append = asyncio.ensure_future(store.append(session, [event(3)]))
        while not append.done():
            before = time.monotonic()
            await asyncio.sleep(0.001)
            gaps.append(time.monotonic() - before)
            if len(gaps) % 10 == 0:
                assert list(await store.read(session)) == records
        with pytest.raises(Unavailable, match="locked"):
            await append
    assert sum(gaps) > 0.8
    assert max(gaps) < 0.5
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
async def test_a_lost_file_fails_closed(
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


async def test_a_damaged_file_fails_closed(path: Path, store: SQLiteStore) -> None:
    session, _ = await filled(store, 200)
    await store.close()
    content = bytearray(contents(path))
    page = int.from_bytes(content[16:18], "big")
    content[page:] = b"\xa5" * (len(content) - page)
    write_over(path, bytes(content))
    store = SQLiteStore(path)
    with pytest.raises(Unavailable, match="damaged"):
        await store.open()
        await store.read(session)
    await store.close()


async def test_a_stale_fence_is_refused_across_processes(path: Path, store: SQLiteStore) -> None:
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

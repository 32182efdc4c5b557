"""The write-ahead log begins anew, also while several processes write, and no call waits for it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from agentws.backends.sqlite import SQLiteStore
from agentws.backends.sqlite.checkpointing import LIMIT, Checkpoints
from agentws.backends.sqlite.syncing import SyncFailure
from agentws.errors import Unavailable
from agentws.testing.contract_base import begin, everything
from agentws.testing.oracle import check_tags

SESSIONS = 20
AGAIN = 4
LARGE = b'{"event":{"type":"CUSTOM","name":"large","value":"%b"}}' % (b"x" * 30_000)


def log_size(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


@pytest.fixture
async def stores(path: Path) -> AsyncIterator[list[SQLiteStore]]:
    stores = [SQLiteStore(path, synchronous="NORMAL") for _ in range(2)]
    for store in stores:
        await store.open()
    yield stores
    for store in stores:
        await store.close()


async def fill(store: SQLiteStore, session: str, *, times: int) -> None:
    for _ in range(times):
        await store.append(session, [LARGE])


async def test_the_log_does_not_grow_while_two_handles_write_without_a_pause(
    path: Path, stores: list[SQLiteStore]
) -> None:
    """It begins anew again and again. How much is written meanwhile depends on the machine."""
    sessions = [await begin(stores[0]) for _ in range(SESSIONS)]
    sizes = [0]
    anew: list[int] = []

    async def write(at: int) -> int:
        written = 0
        while len(anew) < AGAIN:
            await fill(stores[at % 2], sessions[at], times=1)
            written += 1
            size = log_size(path)
            if size < sizes[-1]:
                anew.append(size)
            sizes.append(size)
            assert len(sizes) * len(LARGE) < 10 * AGAIN * LIMIT
        return written

    written = await asyncio.gather(*map(write, range(SESSIONS)))
    for store in stores:
        records = await everything(store, sessions[0])
        assert len(records) == written[0]
        check_tags(records)


async def test_the_log_grows_during_a_long_read_and_is_cut_afterwards(
    path: Path, stores: list[SQLiteStore]
) -> None:
    store = stores[0]
    session = await begin(store)
    reading, proceed = threading.Event(), threading.Event()

    def long_read(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT count(*) FROM event").fetchone()
        reading.set()
        assert proceed.wait(30)

    read = asyncio.ensure_future(stores[1]._read(long_read))
    await asyncio.to_thread(reading.wait, 30)
    await fill(store, session, times=3 * LIMIT // len(LARGE))
    assert log_size(path) > 3 * LIMIT
    proceed.set()
    await read
    for _ in range(6 * LIMIT // len(LARGE)):
        if log_size(path) <= LIMIT:
            return
        await fill(store, session, times=1)
    raise AssertionError("the log was never cut")


async def test_a_checkpoint_that_fails_fails_no_append(
    path: Path, stores: list[SQLiteStore]
) -> None:
    store = stores[0]
    session = await begin(store)
    tried: list[str] = []

    def refuse(action: int, name: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_PRAGMA and name == "wal_checkpoint":
            tried.append(name)
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    await store._write(lambda connection: connection.set_authorizer(refuse))
    await fill(store, session, times=2 * LIMIT // len(LARGE))
    # One try for each time that the log has grown by so much.
    assert 1 <= len(tried) <= log_size(path) // LIMIT


def test_a_checkpoint_whose_sync_fails_is_final() -> None:
    """Otherwise the next one would succeed, and the log would be overwritten."""

    class Failing:
        def execute(self, _: str) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error

    failure = SyncFailure()
    checkpoints = Checkpoints(failure)
    with pytest.raises(Unavailable, match="could not be synced"):
        checkpoints.after_commit(cast("sqlite3.Connection", Failing()), LIMIT + 1)
    with pytest.raises(Unavailable, match="could not be synced"):
        failure.check()

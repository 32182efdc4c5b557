"""Nobody learns of a commit before it is synced, and syncs are shared. A failed one is final."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from agentws.backends.sqlite import SQLiteStore, syncing
from agentws.errors import AgentwsError, Unavailable, VersionConflict
from agentws.store import Key, Store
from agentws.testing.contract_base import begin, event, events, eventually, every_call

KEY = Key("m1", "d1")


class Disk:
    """The disk in place of the real one. Its syncs can be held, and can fail."""

    def __init__(self) -> None:
        self.count = 0
        """Syncs that have ended."""
        self.failure: OSError | None = None
        self.held: list[threading.Event] = []
        """The syncs that have begun since ``stop``; each ends when it is set."""
        self._stopped = False

    def sync(self, descriptor: int) -> None:
        os.fstat(descriptor)
        if self._stopped:
            end = threading.Event()
            self.held.append(end)
            assert end.wait(30)
        self.count += 1
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        self._stopped = True

    def go_on(self) -> None:
        self._stopped = False
        for end in self.held:
            end.set()

    async def wait_for(self, held: int) -> None:
        async def reached() -> bool:
            return len(self.held) >= held

        await eventually(reached)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    monkeypatch.setattr(syncing, "sync_file", disk.sync)
    yield disk
    disk.go_on()


@pytest.fixture
async def stores(path: Path, disk: Disk) -> AsyncIterator[list[SQLiteStore]]:
    """Two handles of one file, as two processes have them."""
    stores = [SQLiteStore(path), SQLiteStore(path)]
    for store in stores:
        await store.open()
    yield stores
    disk.go_on()
    for store in stores:
        await store.close()


# Nobody learns of what is not synced

CALLS: dict[str, Callable[[Store, str], Awaitable[object]]] = {
    **{
        name: lambda store, session, name=name: every_call(store, session)[name]()  # type: ignore[misc]
        for name in every_call(SQLiteStore("unused"), "s")
    },
    "search": lambda store, session: store.search("nobody", "word"),
    "nodes": lambda store, session: store.nodes(),
    "beat": lambda store, session: store.beat("n", instance="i", data=b"", ttl=60),
    "leave": lambda store, session: store.leave("n", instance="i"),
    "a duplicate": lambda store, session: store.append(session, events(1), key=KEY),
    "a refused expectation": lambda store, session: store.append(session, events(2), expect=0),
    "a refused fence": lambda store, session: store.append(session, events(2), fence="e1:7"),
    "a session that is not there": lambda store, session: store.info("s_unknown"),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("handle", [0, 1])
async def test_no_call_ends_before_a_sync_of_what_it_can_see(
    stores: list[SQLiteStore], disk: Disk, name: str, handle: int
) -> None:
    session = await begin(stores[0])
    await stores[handle].ping()
    disk.stop()
    append = asyncio.ensure_future(stores[0].append(session, events(1), key=KEY))
    await disk.wait_for(1)
    call = asyncio.ensure_future(CALLS[name](stores[handle], session))
    # A write of the same handle waits for its turn.
    await disk.wait_for(2 if handle == 1 or name in READS else 1)
    assert not append.done()
    assert not call.done()
    disk.go_on()
    await append
    try:
        await call
    except AgentwsError as error:
        assert not isinstance(error, Unavailable)


READS = {
    *("ping", "info", "load", "sessions", "search", "stale", "find", "head", "heads", "read"),
    *("read_back", "unsettled", "nodes", "maintain", "a session that is not there"),
}
"""The calls that a handle answers on another thread than its appends."""


async def test_a_sync_does_not_count_for_what_was_committed_after_it_began(
    stores: list[SQLiteStore], disk: Disk
) -> None:
    session = await begin(stores[0])
    await stores[1].head(session)
    disk.stop()
    appends = [asyncio.ensure_future(stores[0].append(session, events(1)))]
    await disk.wait_for(1)
    early = asyncio.ensure_future(stores[1].read(session))
    await disk.wait_for(2)
    appends.append(asyncio.ensure_future(stores[1].append(session, events(2))))
    await disk.wait_for(3)
    disk.held[1].set()
    assert len(await early) == 1
    late = asyncio.ensure_future(stores[1].read(session))
    await disk.wait_for(4)
    disk.go_on()
    assert len(await late) == 2
    await asyncio.gather(*appends)


# Syncs are shared


async def test_appends_that_wait_share_a_sync(stores: list[SQLiteStore], disk: Disk) -> None:
    session = await begin(stores[0])
    disk.stop()
    before = disk.count
    appends = [asyncio.ensure_future(stores[0].append(session, events(0)))]
    await disk.wait_for(1)
    appends += [asyncio.ensure_future(stores[0].append(session, events(n))) for n in range(1, 30)]
    # All of them wait before the first sync ends, or some would come after the second group.
    await asyncio.sleep(0)
    disk.go_on()
    await asyncio.gather(*appends)
    assert disk.count - before == 2


async def test_a_call_that_sees_nothing_new_makes_no_sync(
    stores: list[SQLiteStore], disk: Disk
) -> None:
    session = await begin(stores[0])
    await stores[0].append(session, events(1), key=KEY)

    async def look(store: SQLiteStore) -> None:
        await store.read(session)
        with pytest.raises(VersionConflict):
            await store.append(session, events(2), expect=0)
        assert (await store.append(session, events(1), key=KEY)).duplicate

    for store in stores:
        await look(store)
    before = disk.count
    for store in stores:
        await look(store)
    assert disk.count == before
    await stores[1].append(session, events(2))
    before = disk.count
    await stores[0].read(session)
    assert disk.count == before + 1


async def test_a_lock_is_free_while_a_commit_is_synced(
    stores: list[SQLiteStore], disk: Disk
) -> None:
    session = await begin(stores[0])
    disk.stop()
    appends = [asyncio.ensure_future(store.append(session, events(1))) for store in stores]
    # The second one has committed, since its sync has begun.
    await disk.wait_for(2)
    disk.go_on()
    assert sorted([done.position.seq for done in await asyncio.gather(*appends)]) == [1, 2]


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL", "EXTRA"])
async def test_sqlite_syncs_around_a_checkpoint_only(
    path: Path, disk: Disk, synchronous: Literal["NORMAL", "FULL", "EXTRA"]
) -> None:
    store = SQLiteStore(path, synchronous=synchronous)
    await store.open()
    session = await begin(store)
    await store.append(session, events(1))
    await store.read(session)
    assert (disk.count > 0) == (store.durability == "disk") == (synchronous != "NORMAL")

    normal = 1
    assert await store._write(lambda one: one.execute("PRAGMA synchronous").fetchone()[0]) == normal
    await store.close()


# Failures


async def test_a_failed_sync_is_final_until_the_store_is_opened_again(
    stores: list[SQLiteStore], disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    store, other = stores
    session = await begin(store)
    disk.stop()
    disk.failure = OSError(errno.EIO, "Input/output error")
    appends = [asyncio.ensure_future(store.append(session, events(0)))]
    await disk.wait_for(1)
    appends += [asyncio.ensure_future(store.append(session, events(n))) for n in range(1, 10)]
    disk.go_on()
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert {repr(outcome) for outcome in outcomes} == {repr(outcomes[0])}
    assert isinstance(outcomes[0], Unavailable)
    assert "could not be synced to the disk" in str(outcomes[0])

    disk.failure, syncs = None, disk.count
    for name, call in every_call(store, session).items():
        with pytest.raises(Unavailable, match="could not be synced"):
            await call()
        assert name
    with pytest.raises(Unavailable, match="could not be synced"):
        store.lease_renewer().renew("a", [session], ttl=60)
    assert disk.count == syncs
    [line] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "restart all processes" in line.getMessage()

    await store.close()
    await store.open()
    # Of the appends that failed, only the first group was committed.
    assert [record.data for record in await store.read(session)] == events(0)
    await store.append(session, events(1))
    assert len(await other.read(session)) == 2


async def test_a_failed_sync_of_a_read_is_final_too(stores: list[SQLiteStore], disk: Disk) -> None:
    session = await begin(stores[0])
    disk.failure = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(Unavailable, match="could not be synced"):
        await stores[1].read(session)
    disk.failure = None
    with pytest.raises(Unavailable, match="could not be synced"):
        await stores[1].append(session, events(1))
    assert await stores[0].read(session) == []


async def test_a_store_keeps_no_descriptor(path: Path, disk: Disk) -> None:
    async def open_and_close() -> None:
        store = SQLiteStore(path)
        await store.open()
        session = await begin(store)
        await store.append(session, [event(1)])
        await store.read(session)
        await store.close()

    await open_and_close()
    before = os.listdir("/dev/fd")
    await open_and_close()
    assert os.listdir("/dev/fd") == before

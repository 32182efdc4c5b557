"""A power cut at any moment loses nothing that was acknowledged or read.

Two handles of one file, as two processes have them, work in turns. While one of them syncs, the
others go on. The disk has what was in the files when a sync began that has ended, and of what was
written later as much as it likes. SQLite's own syncs are not seen here: it makes those around a
checkpoint.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from agentws.backends.sqlite import SQLiteStore, syncing
from agentws.backends.sqlite.store import Read, Write
from agentws.store import Key
from agentws.testing.contract_base import begin, events
from tests.laws.inline import InlineThread

SESSIONS = 3
STEPS = 400
PAGES = 12
"""Pages of the write-ahead log after which SQLite makes a checkpoint."""
SECTOR = 512
HEADER = 32
"""Bytes of the header of a write-ahead log. It is another one after each overwriting."""

T = TypeVar("T")

Known = tuple[str, int, str]
"""An event that somebody knows of: its session, seq and tag."""


class Handle(SQLiteStore):
    """A store that runs each call where it is made."""

    async def open(self) -> None:
        writer = InlineThread[Write](self._connect_writer, self._commit)
        reader = InlineThread[Read](self._connect_reader, self._query)
        await writer.open()
        await reader.open()
        self._writer, self._reader = writer, reader
        await self._write(lambda one: one.execute(f"PRAGMA wal_autocheckpoint = {PAGES}"))


class Files(NamedTuple):
    """The bytes of the database and of its write-ahead log at one moment."""

    database: bytes
    wal: bytes

    @classmethod
    def of(cls, path: Path) -> Files:
        return cls(path.read_bytes(), Path(f"{path}-wal").read_bytes())

    def write(self, path: Path) -> None:
        Path(f"{path}-shm").unlink(missing_ok=True)
        Path(f"{path}-wal").write_bytes(self.wal)
        path.write_bytes(self.database)


class Disk:
    """What a power cut leaves of the files at ``path``."""

    def __init__(self, path: Path, meanwhile: Callable[[], None]) -> None:
        self._path = path
        self._meanwhile = meanwhile
        self._begun = 0
        self._newest = 0
        self.synced = Files.of(path)

    def sync(self, descriptor: int) -> None:
        self._begun += 1
        number, files = self._begun, Files.of(self._path)
        self._meanwhile()
        if number > self._newest:
            self._newest, self.synced = number, files

    def after_a_power_cut(self, chance: random.Random) -> Files:
        """What was synced; of what was written later, any part may be on the disk too."""
        now, synced = Files.of(self._path), self.synced
        if now.wal[:HEADER] != synced.wal[:HEADER]:
            # SQLite has overwritten the log, and has synced the database before.
            return chance.choice([now, synced])
        if now.database != synced.database:
            # SQLite is making a checkpoint, and has synced the log before.
            return Files(_mixed(synced.database, now.database, chance), now.wal)
        return Files(now.database, _mixed(synced.wal, now.wal, chance))


def _mixed(older: bytes, newer: bytes, chance: random.Random) -> bytes:
    """Each sector is the older or the newer one."""
    mixed = bytearray(older.ljust(len(newer), b"\0"))
    for start in range(0, len(newer), SECTOR):
        if chance.random() < 0.5:
            mixed[start : start + SECTOR] = newer[start : start + SECTOR]
    return bytes(mixed)


class Schedule:
    """Random steps of two handles. ``known`` are the events that somebody was told of."""

    def __init__(self, handles: Sequence[Handle], sessions: Sequence[str], seed: int) -> None:
        self.chance = random.Random(seed)
        self._handles = handles
        self._sessions = sessions
        self._busy: set[tuple[int, bool]] = set()
        self._count = 0
        self.known: set[Known] = set()
        self.most_at_once = 0

    def step(self) -> None:
        """One call on a thread that is free now, if there is one."""
        threads = [(at, reads) for at in range(len(self._handles)) for reads in (False, True)]
        free = [thread for thread in threads if thread not in self._busy]
        if not free:
            return
        at, reads = thread = self.chance.choice(free)
        self._busy.add(thread)
        self.most_at_once = max(self.most_at_once, len(self._busy))
        self.known |= (self._read if reads else self._append)(self._handles[at])
        self._busy.remove(thread)

    def _append(self, handle: Handle) -> set[Known]:
        session = self.chance.choice(self._sessions)
        # Some are duplicates, perhaps of what another handle is about to sync.
        self._count += self.chance.random() < 0.7
        key = Key(f"m{self._count}", "d")
        position = at_once(handle.append(session, events(self._count, "more"), key=key)).position
        return {(session, position.seq, position.tag)}

    def _read(self, handle: Handle) -> set[Known]:
        session = self.chance.choice(self._sessions)
        return {(session, one.seq, one.tag) for one in at_once(handle.read(session))}


def at_once(call: Coroutine[Any, Any, T]) -> T:
    try:
        call.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("the call waits for something")


def events_in(path: Path) -> set[Known]:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        query = "SELECT id, event.seq, event.tag FROM session JOIN event USING (log)"
        return set(connection.execute(query))


@pytest.mark.parametrize("seed", range(3))
async def test_a_power_cut_loses_nothing_that_anybody_knows_of(
    path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    handles = [Handle(path), Handle(path)]
    for handle in handles:
        await handle.open()
    schedule = Schedule(handles, [await begin(handles[0]) for _ in range(SESSIONS)], seed)
    copy, logs = path.with_name("copy.db"), set()

    def cut_the_power() -> None:
        disk.after_a_power_cut(schedule.chance).write(copy)
        assert schedule.known <= events_in(copy)

    def meanwhile() -> None:
        for _ in range(schedule.chance.choice([0, 0, 1, 2])):
            schedule.step()
        if schedule.chance.random() < 0.1:
            cut_the_power()

    disk = Disk(path, meanwhile)
    monkeypatch.setattr(syncing, "sync_file", disk.sync)
    for _ in range(STEPS):
        schedule.step()
        logs.add(disk.synced.wal[:HEADER])
        if schedule.chance.random() < 0.5:
            cut_the_power()
    assert schedule.most_at_once == 4
    assert len(logs) > 5, "SQLite has hardly overwritten the log"
    for handle in handles:
        await handle.close()

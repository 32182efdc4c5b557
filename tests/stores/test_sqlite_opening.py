"""Opening and closing a SQLite file: durability, waiting for locks, refused files."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import cast

import msgspec
import pytest

from agentws.backends.sqlite import SQLiteStore
from agentws.backends.sqlite.schema import _enter_wal
from agentws.errors import Misconfigured, NotFound, Unavailable
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

from .conftest import another_program


def contents(path: Path) -> bytes:
    return path.read_bytes()


def write_over(path: Path, data: bytes) -> None:
    path.write_bytes(data)


async def refusal(path: Path) -> str:
    """The error line of a store that refuses to open ``path``; checks that no thread is left."""
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


async def test_reopening_keeps_all_data(path: Path, store: SQLiteStore) -> None:
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


async def test_closing_finishes_the_calls_in_progress(path: Path, store: SQLiteStore) -> None:
    session = await begin(store)
    appends = [asyncio.ensure_future(store.append(session, [event(n)])) for n in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert {append.result().position.seq for append in appends} == set(range(1, 51))


async def test_a_store_that_is_not_open_is_unavailable(path: Path) -> None:
    store = SQLiteStore(path)
    for _ in range(2):
        for call in every_call(store, "s").values():
            with pytest.raises(Unavailable):
                await call()
        await store.open()
        await store.open()
        await store.ping()
        await store.close()


async def test_concurrent_first_opens_create_one_database(path: Path) -> None:
    stores = [SQLiteStore(path) for _ in range(6)]
    await asyncio.gather(*(store.open() for store in stores))
    session, records = await filled(stores[0], 2)
    for store in stores:
        assert list(await store.read(session)) == records
    await asyncio.gather(*(store.close() for store in stores))


async def test_opening_waits_for_a_recovery_by_another_process() -> None:
    """SQLite reports it by an extended error code of SQLITE_BUSY."""

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


async def test_another_programs_database_is_refused_and_not_changed(path: Path) -> None:
    with another_program(path) as connection:
        connection.execute("CREATE TABLE session (mine)")
    before = contents(path)
    assert "another program" in await refusal(path)
    assert contents(path) == before


async def test_a_file_that_is_not_a_database_is_refused(path: Path, tmp_path: Path) -> None:
    write_over(path, b"something else entirely" * 1000)
    assert "not a database" in await refusal(path)
    assert "can't be opened: its path is a directory" in await refusal(tmp_path)
    for nowhere in (tmp_path / "nowhere" / "sessions.db", path / "sessions.db"):
        assert "can't be opened: there is no directory for it" in await refusal(nowhere)


def test_the_durability_follows_from_synchronous(path: Path) -> None:
    assert SQLiteStore(path).durability == "disk"
    assert SQLiteStore(path, synchronous="NORMAL").durability == "process"
    with pytest.raises(ValueError, match="synchronous"):
        SQLiteStore(path, synchronous="OFF; DROP")  # type: ignore[arg-type]


async def test_a_damaged_file_makes_the_store_unavailable(path: Path, store: SQLiteStore) -> None:
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


async def test_a_pipe_and_a_device_are_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "chat.sqlite3"
    os.mkfifo(pipe)
    for path in (pipe, Path(os.devnull)):
        with pytest.raises(Misconfigured, match="its path is no regular file"):
            await SQLiteStore(path).open()


async def test_a_database_is_the_same_one_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    target, link = tmp_path / "volume" / "chat.sqlite3", tmp_path / "chat.sqlite3"
    link.symlink_to(target)
    first, second = SQLiteStore(link), SQLiteStore(target)
    await first.open()
    await second.open()
    session = await begin(first)
    await first.append(session, events(1))
    assert (await second.head(session)).position.seq == 1
    assert repr(first.default_bus()) == repr(second.default_bus())
    await second.close()
    await first.close()


async def test_a_damaged_database_ends_the_start(path: Path, store: SQLiteStore) -> None:
    await begin(store)
    await store.close()
    whole = contents(path)
    write_over(path, whole[: len(whole) // 2])
    with pytest.raises(Misconfigured, match="The database is damaged"):
        await SQLiteStore(path).open()


async def test_a_database_with_a_version_below_0_is_refused(path: Path, store: SQLiteStore) -> None:
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = -1")
    assert await refusal(path) == "The file is another program's database."

"""A file of an older version is migrated with all its data."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from agentws.backends.sqlite import SQLiteStore
from agentws.errors import NotFound, VersionConflict
from agentws.store import Key, SessionInfo, Settled
from agentws.testing.contract_base import events
from agentws.testing.oracle import check_tags

VERSION_1: Final = """
    PRAGMA application_id = 0x61677773;
    PRAGMA user_version = 1;
    CREATE TABLE session (
        log INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        owner TEXT,
        agent TEXT NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        title TEXT,
        metadata TEXT,
        epoch TEXT NOT NULL,
        seq INTEGER NOT NULL DEFAULT 0,
        tag TEXT NOT NULL DEFAULT '',
        settled INTEGER NOT NULL DEFAULT 0,
        trimmed INTEGER NOT NULL DEFAULT 0,
        fence INTEGER NOT NULL DEFAULT 0,
        holder TEXT,
        expires REAL NOT NULL DEFAULT 0
    );
    CREATE INDEX session_owner ON session (owner, updated);
    CREATE INDEX session_updated ON session (updated);
    CREATE INDEX session_unsettled ON session (log) WHERE seq > settled;
    CREATE TABLE event (
        log INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        tag TEXT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (log, seq)
    ) WITHOUT ROWID;
    CREATE TABLE key (
        log INTEGER NOT NULL,
        id TEXT NOT NULL,
        digest TEXT NOT NULL,
        seq INTEGER NOT NULL,
        tag TEXT NOT NULL,
        PRIMARY KEY (log, id)
    ) WITHOUT ROWID;
    CREATE TABLE deleted (id TEXT PRIMARY KEY) WITHOUT ROWID;

    INSERT INTO session VALUES
        (1, 's_settled', 'ada', 'support', 1000.0, 2000.5, 'Grüße', '{"a":[1,null]}', 'e1',
         3, '8af8653c3b9bad43', 3, 0, 0, NULL, 0.0),
        (7, 's_open', NULL, 'default', 1000.0, 2001.5, NULL, NULL, 'e1',
         2, 'c183d38c7cc7b6ed', 1, 0, 4, 'a', 9e12);
    INSERT INTO event VALUES
        (1, 1, '8019aa31e623e3b0', CAST('{"event":{"type":"CUSTOM","name":"1","value":1}}'
            AS BLOB)),
        (1, 2, 'c183d38c7cc7b6ed', CAST('{"event":{"type":"CUSTOM","name":"2","value":1}}'
            AS BLOB)),
        (1, 3, '8af8653c3b9bad43', CAST('{"event":{"type":"CUSTOM","name":"3","value":1}}'
            AS BLOB)),
        (7, 1, '8019aa31e623e3b0', CAST('{"event":{"type":"CUSTOM","name":"1","value":1}}'
            AS BLOB)),
        (7, 2, 'c183d38c7cc7b6ed', CAST('{"event":{"type":"CUSTOM","name":"2","value":1}}'
            AS BLOB));
    INSERT INTO key VALUES (1, 'm1', 'd1', 3, '8af8653c3b9bad43');
    INSERT INTO deleted VALUES ('s_gone');
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "sessions.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)
    return path


async def test_a_migration_from_version_1_keeps_all_data(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    info = SessionInfo(
        id="s_settled",
        owner="ada",
        agent="support",
        created=1000.0,
        updated=2000.5,
        title="Grüße",
        metadata={"a": [1, None]},
    )
    assert await store.sessions(owner="ada") == [info]
    records = await store.read("s_settled")
    assert [record.data for record in records] == events(1, 2, 3)
    check_tags(records)
    settled, unsettled = await store.head("s_settled"), await store.head("s_open")
    assert (settled.position.seq, settled.settled) == (3, Settled(3))
    assert (unsettled.position.seq, unsettled.settled) == (2, Settled(1))
    assert (await store.append("s_settled", events(1), key=Key("m1", "d1"))).duplicate
    with pytest.raises(NotFound):
        await store.create(SessionInfo(id="s_gone", agent="a", created=1, updated=1), epoch="e2")
    await store.close()


async def test_a_migrated_database_can_be_written_to(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    lease = await store.lease("s_open", owner="b", ttl=60)
    assert lease is not None
    assert lease.fence == "e1:5"
    done = await store.append("s_open", events(3), fence=lease.fence, settled=Settled(3, b"much"))
    assert done.position.seq == 3
    await store.close()

    again = SQLiteStore(path)
    await again.open()
    assert (await again.head("s_open")).settled == Settled(3, b"much")
    check_tags(await again.read("s_open"))
    await again.close()


async def test_the_end_of_a_migrated_log_is_its_expected_version(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    for expect in (0, 1, 3):
        with pytest.raises(VersionConflict):
            await store.append("s_open", events(3), expect=expect)
    assert (await store.append("s_open", events(3), expect=2)).position.seq == 3
    await store.close()


async def test_concurrent_opens_of_an_old_file_migrate_it_once(path: Path) -> None:
    stores = [SQLiteStore(path) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    for store in stores:
        assert (await store.head("s_settled")).position.seq == 3
    await asyncio.gather(*(store.close() for store in stores))

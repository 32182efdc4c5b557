"""The index of an SQLite file: what fills it, what empties it, and when."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from agentws import MemoryStore
from agentws.backends.sqlite import SQLiteStore, schema, search
from agentws.errors import Unavailable
from agentws.protocol import events as e
from agentws.protocol.codec import entry
from agentws.protocol.search import searchable
from agentws.store import SessionInfo, Settled, Store
from agentws.testing.contract_base import EPOCH, a_session
from agentws.testing.contract_search import found, hold, owned, said, settle

from .conftest import another_program

WORDS = "oslo bergen malmo turku riga tartu vilnius kaunas".split()


def count(path: Path, table: str) -> int:
    with another_program(path) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def is_consistent(path: Path) -> bool:
    """Whether the FTS5 table has exactly the rows of ``passage``."""
    with another_program(path) as connection:
        connection.execute("INSERT INTO search (search, rank) VALUES ('integrity-check', 1)")
    return True


async def test_appends_do_not_write_to_the_index(store: SQLiteStore, path: Path) -> None:
    session = await owned(store, "ann")
    await store.append(session.id, said("Bergen", ["one ", "two"]))
    while await store.maintain():
        pass
    assert count(path, "passage") == 0
    await settle(store, session)
    assert count(path, "passage") == 1


async def test_sessions_without_an_owner_are_not_indexed(store: SQLiteStore, path: Path) -> None:
    anonymous = msgspec.structs.replace(a_session(), title="Oslo")
    await store.create(anonymous, epoch=EPOCH)
    await hold(store, anonymous, said("Bergen", "fine"))
    await store.update(anonymous.id, title="Malmo")
    assert count(path, "passage") == 0


async def test_nothing_is_left_of_a_deleted_or_cleared_session(
    store: SQLiteStore, path: Path
) -> None:
    deleted, cleared = await owned(store, "ann", title="Oslo"), await owned(store, "ann")
    for session in (deleted, cleared):
        await hold(store, session, said("Bergen", "fine"), said("Riga", "fine", id="2"))
    await store.delete(deleted.id)
    await store.append(cleared.id, [entry(e.HistoryCleared()).data])
    assert count(path, "passage") == 0
    assert is_consistent(path)
    with another_program(path) as connection:
        rows = connection.execute("SELECT count(*) FROM search WHERE search MATCH 'bergen'")
        assert rows.fetchone()[0] == 0


async def test_what_is_cleared_while_it_is_being_indexed_is_not_found(store: SQLiteStore) -> None:
    session = await owned(store, "ann")
    await store.append(session.id, said("Bergen", "fine"))
    end = (await store.head(session.id)).position.seq
    await store.append(session.id, [], settled=Settled(end))
    batches = await store._read(search.due)
    await store.append(session.id, [entry(e.HistoryCleared()).data])
    await store._write(lambda connection: search.index(connection, batches))
    assert await found(store, "ann", "bergen") == set()


async def test_what_is_deleted_while_it_is_being_indexed_is_not_found(
    store: SQLiteStore, path: Path
) -> None:
    """The next session gets the same row number."""
    session = await owned(store, "ann")
    await store.append(session.id, said("Bergen", "fine"))
    end = (await store.head(session.id)).position.seq
    await store.append(session.id, [], settled=Settled(end))
    batches = await store._read(search.due)
    await store.delete(session.id)
    other = await owned(store, "ann")
    await store._write(lambda connection: search.index(connection, batches))
    assert count(path, "passage") == 0
    await hold(store, other, said("Riga", "fine"))
    assert await found(store, "ann", "riga") == {other.id}


async def test_two_nodes_index_a_log_once(store: SQLiteStore, path: Path) -> None:
    peer = SQLiteStore(path)
    await peer.open()
    sessions = [await owned(store, "ann") for _ in range(20)]
    for session in sessions:
        await store.append(session.id, said("Bergen", "fine"))
        end = (await store.head(session.id)).position.seq
        await store.append(session.id, [], settled=Settled(end))

    async def work(one: Store) -> None:
        while await one.maintain():
            pass

    await asyncio.gather(work(store), work(peer), work(store), work(peer))
    assert count(path, "passage") == len(sessions)
    assert await found(peer, "ann", "bergen") == {session.id for session in sessions}
    await peer.close()


async def test_a_long_log_is_indexed_in_parts_with_whole_runs(
    store: SQLiteStore, path: Path
) -> None:
    session = await owned(store, "ann")
    runs = [said(f"question{n}", [f"ans{n}", "wer"] * 40, id=str(n)) for n in range(12)]
    await hold(store, session, *runs, said("last", ["part "] * 900 + ["fin", "ish"], id="x"))
    assert 1 < count(path, "passage") < len(runs)
    for n in range(12):
        assert await found(store, "ann", f"question{n} ans{n}wer") == {session.id}
    assert await found(store, "ann", "finish") == {session.id}


async def test_a_log_that_can_not_be_indexed_does_not_block_the_others(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = await owned(store, "ann"), await owned(store, "ann")

    def failing(records: list[Any]) -> Any:
        if any(b"Bergen" in record.data for record in records):
            raise ValueError("as ordered")
        return searchable(records)

    monkeypatch.setattr("agentws.backends.sqlite.search.searchable", failing)
    await store.append(bad.id, said("Bergen", "fine"))
    await hold(store, bad)
    await hold(store, good, said("Riga", "fine"))
    assert await found(store, "ann", "riga") == {good.id}
    assert bad.id in caplog.text


async def test_a_sqlite_without_fts5_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_has_fts5", lambda: False)
    with pytest.raises(Unavailable, match="FTS5"):
        await SQLiteStore(path).open()
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("version", range(1, len(schema.MIGRATIONS)))
async def test_sessions_of_an_older_file_are_found(path: Path, version: int) -> None:
    made = old_file(path, version)
    with another_program(path) as connection:
        settled = connection.execute("SELECT min(settled) FROM session").fetchone()[0]
        assert settled > 0
    store = SQLiteStore(path)
    await store.open()
    assert await store.maintain()
    await store.close()
    # What was indexed by then is kept: the work goes on where it was.
    done = count(path, "passage")
    assert 0 < done < 2 * len(made)
    again = SQLiteStore(path)
    await again.open()
    while await again.maintain():
        pass
    assert count(path, "passage") == 2 * len(made)
    assert await found(again, "ann", "title") == set(made)
    for number, id in enumerate(made):
        assert await found(again, "ann", f"question{number:02} fine") == {id}
        assert await again.info(id) == old_session(number)
    await again.close()


def old_session(number: int) -> SessionInfo:
    return SessionInfo(
        id=f"s_{number:02}",
        owner="ann",
        agent="default",
        created=1000.0,
        updated=1000.0 + number,
        title=f"Title {number}",
    )


def old_file(path: Path, version: int) -> list[str]:
    """A file with that schema, as an older version wrote it; returns the ids of its sessions."""
    made = [old_session(number) for number in range(20)]
    with closing(sqlite3.connect(path)) as connection:
        for statements in schema.MIGRATIONS[:version]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        for log, info in enumerate(made, 1):
            datas = said(f"question{log - 1:02}", "fine")
            connection.execute(
                "INSERT INTO session (log, id, owner, agent, created, updated, title, epoch, "
                "seq, settled) VALUES (?, ?, ?, ?, ?, ?, ?, 'e1', ?, ?)",
                (log, info.id, info.owner, info.agent, info.created, info.updated, info.title)
                + (len(datas), len(datas)),
            )
            rows = [(log, seq, "tag", data) for seq, data in enumerate(datas, 1)]
            connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?)", rows)
        connection.commit()
    return [info.id for info in made]


@pytest.mark.parametrize("seed", range(25))
async def test_a_random_history_is_found_as_a_plain_scan_finds_it(
    store: SQLiteStore, path: Path, seed: int
) -> None:
    """The model is the memory store, which reads every message with every search."""
    random = Random(seed)
    model = MemoryStore()
    ids: list[str] = []
    for step in range(60):
        await random_step(random, [store, model], ids, step)
        if random.random() < 0.3:
            await store.maintain()
    for id in ids:
        end = (await store.head(id)).position.seq
        await store.append(id, [], settled=Settled(end))
    while await store.maintain():
        pass
    assert is_consistent(path)
    for word in (*WORDS, *(f"{one} {other}" for one in WORDS for other in WORDS), "o", "ta"):
        for owner in ("ann", "bob"):
            assert await found(store, owner, word) == await found(model, owner, word), word


async def random_step(random: Random, stores: list[Store], ids: list[str], step: int) -> None:
    """The same change in both stores."""

    async def append(id: str, events: list[bytes], *, settle: bool) -> None:
        for store in stores:
            done = await store.append(id, events)
            if settle:
                await store.append(id, [], settled=Settled(done.position.seq))

    if not ids or random.random() < 0.15:
        info = msgspec.structs.replace(
            a_session(owner=random.choice(["ann", "bob"])),
            title=random.choice([None, *WORDS]),
        )
        ids.append(info.id)
        for store in stores:
            await store.create(info, epoch=EPOCH)
        return
    id, text = random.choice(ids), " ".join(random.choices(WORDS, k=3))
    match random.choice(["run"] * 8 + ["snapshot", "clear", "delete", "rename"]):
        case "run":
            run = said(text, [random.choice(WORDS), " ", random.choice(WORDS)], id=str(step))
            await append(id, run, settle=random.random() < 0.5)
        case "snapshot":
            view = e.MessagesSnapshot([e.UserMessage(f"s{step}", text)])
            await append(id, said("a", "b", view, id=str(step)), settle=random.random() < 0.5)
        case "clear":
            await append(id, [entry(e.HistoryCleared()).data], settle=random.random() < 0.5)
        case "delete":
            ids.remove(id)
            for store in stores:
                await store.delete(id)
        case "rename":
            for store in stores:
                await store.update(id, title=text)

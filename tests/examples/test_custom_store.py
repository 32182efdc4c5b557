"""The example store fulfils the contract, and survives restarts, crashes and full disks."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agentws.errors import NotFound, Unavailable
from agentws.store import Key, Lease, Settled, Store
from agentws.testing.contract_base import a_session, begin, events, everything
from agentws.testing.contracts import SearchContract, StoreContract
from examples.custom_store import JournalStore


class TestJournalStore(StoreContract, SearchContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[JournalStore]:
        store = JournalStore(tmp_path / "chat.jsonl")
        await store.open()
        yield store
        await store.close()


@pytest.mark.anyio
async def test_sessions_and_events_survive_a_restart(tmp_path: Path) -> None:
    first = JournalStore(tmp_path / "chat.jsonl")
    await first.open()
    session, key = await begin(first), Key("msg_1", "digest")
    done = await first.append(session, events("ä", 2), key=key, settled=Settled(1, b"kept"))
    await first.update(session, title="Travel")
    gone, _ = await first.create(a_session(), epoch="e1")
    await first.delete(gone.id)
    log, info = await everything(first, session), await first.info(session)
    await first.close()

    again = JournalStore(tmp_path / "chat.jsonl")
    await again.open()
    assert await everything(again, session) == log
    assert (await again.info(session)) == info
    assert (await again.head(session)).settled == Settled(1, b"kept")
    assert (await again.append(session, events("x"), key=key)).position == done.position
    assert (await again.sessions(owner="nobody")) == []
    await again.close()


@pytest.mark.anyio
async def test_an_incomplete_last_line_after_a_crash_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    store = JournalStore(path)
    await store.open()
    session = await begin(store)
    await store.append(session, events(1))
    log = await everything(store, session)
    await store.close()
    path.write_bytes(path.read_bytes() + b'{"at":1,"session":"' + session.encode())

    again = JournalStore(path)
    await again.open()
    assert await everything(again, session) == log
    await again.append(session, events(2))
    await again.close()
    assert path.read_bytes().count(b"\n") == 3


def full(_: Any) -> None:
    raise OSError(errno.ENOSPC, "no space")


@pytest.mark.anyio
async def test_a_full_disk_raises_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JournalStore(tmp_path / "chat.jsonl")
    await store.open()
    session = await begin(store)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Unavailable):
        await store.append(session, events(1))
    with pytest.raises(Unavailable):
        await store.ping()


Change = Callable[[JournalStore, str], Awaitable[object]]
KEY = Key("msg_1", "digest")
CHANGES: dict[str, Change] = {
    "create": lambda store, session: store.create(a_session(), epoch="e1"),
    "append": lambda store, session: store.append(session, events(1), key=KEY),
    "update": lambda store, session: store.update(session, title="Travel"),
    "delete": lambda store, session: store.delete(session),
    "compact": lambda store, session: store.compact(session, first=1, last=1, records=()),
}
READS: dict[str, Change] = {
    "ping": lambda store, session: store.ping(),
    "available_durability": lambda store, session: store.available_durability(),
    "info": lambda store, session: store.info(session),
    "load": lambda store, session: store.load(session),
    "sessions": lambda store, session: store.sessions(owner="ann"),
    "search": lambda store, session: store.search("ann", "word"),
    "stale": lambda store, session: store.stale(retention=None),
    "find": lambda store, session: store.find(session, KEY),
    "head": lambda store, session: store.head(session),
    "heads": lambda store, session: store.heads([session]),
    "read": lambda store, session: store.read(session),
    "read_back": lambda store, session: store.read_back(session, before=9),
    "lease": lambda store, session: store.lease(session, owner="n1", ttl=1),
    "renew": lambda store, session: store.renew("n1", [session], ttl=1),
    "release": lambda store, session: store.release(Lease(session, "n1", "e1:1", 1)),
    "unsettled": lambda store, session: store.unsettled(),
}


def test_the_tables_hold_every_method_of_the_port() -> None:
    assert {*CHANGES, *READS} == {
        name for name, value in vars(Store).items() if callable(value) and name[0] != "_"
    } - {"open", "close", "default_bus", "maintain", "lease_renewer", "beat", "nodes", "leave"}


@pytest.mark.anyio
@pytest.mark.parametrize("broken_by", ["create", "append", "update", "delete"])
async def test_a_failed_write_makes_every_later_call_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_by: str
) -> None:
    """Memory is ahead of the file then, so nothing from memory may be returned."""
    store = JournalStore(tmp_path / "chat.jsonl")
    await store.open()
    session = await begin(store)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Unavailable):
        await CHANGES[broken_by](store, session)
    monkeypatch.undo()
    for call in (*CHANGES.values(), *READS.values()):
        with pytest.raises(Unavailable):
            await call(store, session)
    await store.close()


@pytest.mark.anyio
async def test_a_message_whose_write_failed_is_appended_when_it_is_resent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JournalStore(tmp_path / "chat.jsonl")
    await store.open()
    session = await begin(store)
    await store.append(session, events(1))

    def torn(file: int) -> None:
        os.ftruncate(file, os.fstat(file).st_size - 1)
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("os.fsync", torn)
    with pytest.raises(Unavailable):
        await store.append(session, events(2), key=KEY)
    monkeypatch.undo()
    with pytest.raises(Unavailable):
        await store.append(session, events(2), key=KEY)
    await store.close()
    await store.open()
    done = await store.append(session, events(2), key=KEY)
    assert (done.duplicate, done.position.seq) == (False, 2)
    await store.close()


@pytest.mark.anyio
async def test_reopening_the_store_duplicates_nothing(tmp_path: Path) -> None:
    store = JournalStore(tmp_path / "chat.jsonl")
    await store.open()
    session = await begin(store)
    await store.append(session, events(1), key=KEY)
    gone, _ = await store.create(a_session(), epoch="e1")
    await store.delete(gone.id)
    log = await everything(store, session)
    for _ in range(2):
        await store.close()
        await store.open()
        assert await everything(store, session) == log
    with pytest.raises(NotFound):
        await store.create(gone, epoch="e1")
    await store.close()

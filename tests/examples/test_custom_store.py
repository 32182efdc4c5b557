"""The example's store keeps the contract, and keeps its sessions when it is opened again."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agentws.errors import Unavailable
from agentws.store import Key, Settled
from agentws.testing.contract_base import a_session, begin, events, everything
from agentws.testing.contracts import StoreContract
from examples.custom_store import JournalStore


class TestJournalStore(StoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[JournalStore]:
        store = JournalStore(tmp_path / "chat.jsonl")
        await store.open()
        yield store
        await store.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_what_was_appended_is_there_after_a_restart(tmp_path: Path) -> None:
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
async def test_a_line_that_was_torn_by_a_crash_is_left_out(tmp_path: Path) -> None:
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


@pytest.mark.anyio
async def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JournalStore(tmp_path / "chat.jsonl")
    await store.open()
    session = await begin(store)

    def full(_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Unavailable):
        await store.append(session, events(1))
    with pytest.raises(Unavailable):
        await store.ping()

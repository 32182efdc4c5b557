"""The SQLite store fulfils the contract, also with two stores over one file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentws.backends.sqlite import SQLiteStore
from agentws.testing.contracts import SearchContract, StoreContract


class TestSQLiteStore(StoreContract, SearchContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SQLiteStore]:
        store = SQLiteStore(tmp_path / "sessions.db", synchronous="NORMAL")
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    async def peer(self, tmp_path: Path, store: SQLiteStore) -> AsyncIterator[SQLiteStore]:
        peer = SQLiteStore(tmp_path / "sessions.db", synchronous="NORMAL")
        await peer.open()
        yield peer
        await peer.close()

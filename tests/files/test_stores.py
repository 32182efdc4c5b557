"""The file stores keep the contract, and a disk keeps it through crashes and failures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentws.backends.disk import DiskFileStore
from agentws.backends.memory_files import MemoryFileStore
from agentws.files import FileStore
from agentws.testing.contracts import FileStoreContract


class TestMemoryFileStore(FileStoreContract):
    @pytest.fixture
    async def files(self) -> FileStore:
        return MemoryFileStore()


class TestDiskFileStore(FileStoreContract):
    @pytest.fixture
    async def files(self, tmp_path: Path) -> AsyncIterator[FileStore]:
        store = DiskFileStore(tmp_path / "files")
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    async def peer(self, files: FileStore, tmp_path: Path) -> FileStore:
        store = DiskFileStore(tmp_path / "files")
        await store.open()
        return store

"""The file stores keep the contract, and a disk keeps it through crashes and failures."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentws.backends.disk import DiskFileStore, _Writing
from agentws.backends.memory_files import MemoryFileStore
from agentws.errors import NotFound, StorageFull, Unavailable
from agentws.files import FileStore, Usage
from agentws.testing.contract_files import chunks, content, exists, new_file, new_session
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


# What a disk does


@pytest.fixture
async def disk(tmp_path: Path) -> DiskFileStore:
    store = DiskFileStore(tmp_path / "files")
    await store.open()
    return store


def left(store: DiskFileStore) -> tuple[int, int]:
    """How many files the disk has, and how many rows the index."""
    with closing(store._connect()) as index:
        (rows,) = index.execute("SELECT count(*) FROM files").fetchone()
    return len(os.listdir(store._data)), rows


class FullDisk:
    """A file of which a part is written before the disk is full."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, part: bytes) -> None:
        self._file.write(part[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        self._file.close()


async def test_a_full_disk_is_an_error_and_leaves_nothing(
    disk: DiskFileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = _Writing._opened
    monkeypatch.setattr(_Writing, "_opened", lambda writing: FullDisk(opened(writing)))
    with pytest.raises(StorageFull) as caught:
        await disk.create(new_file(owner="ann"), chunks(b"x" * 100))
    assert caught.value.retryable and str(disk._folder) not in str(caught.value)
    assert left(disk) == (0, 0)


async def test_a_crash_before_a_file_is_complete_leaves_what_a_sweep_removes(
    disk: DiskFileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step at which the process may end: nothing after that step is done."""

    def crash(*given: object) -> None:
        raise KeyboardInterrupt

    def only_close(store: DiskFileStore, writing: _Writing, id: str) -> None:
        if writing._file is not None:
            writing._file.close()

    monkeypatch.setattr(DiskFileStore, "_discard", only_close)
    for step in ("_Writing.write", "_Writing.finish", "_complete"):
        with monkeypatch.context() as patch:
            patch.setattr(f"agentws.backends.disk.{step}", crash)
            new = new_file(owner="ann", age=500.0)
            with pytest.raises(KeyboardInterrupt):
                await disk.create(new, chunks(b"x" * 300_000))
        assert not await exists(disk, new.id)
        assert await disk.usage(new.holder) == Usage(0, 0)
        assert left(disk)[1] == 1
        assert await disk.sweep(created_before=new.created) == 0
        assert await disk.sweep(created_before=new.created + 1) == 1
        assert left(disk) == (0, 0)


async def test_a_crash_while_a_file_is_deleted_leaves_what_a_sweep_removes(
    disk: DiskFileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*given: object) -> None:
        raise KeyboardInterrupt

    info = await disk.create(new_file(owner="ann", age=500.0), chunks(b"data"))
    await disk.attach([info.id], new_session())
    with monkeypatch.context() as patch:
        patch.setattr(DiskFileStore, "_unlink", crash)
        with pytest.raises(KeyboardInterrupt):
            await disk.delete(info.id)
    assert not await exists(disk, info.id)
    assert left(disk) == (1, 1)
    await disk.sweep(created_before=info.created + 1)
    assert left(disk) == (0, 0)


async def test_a_folder_that_was_deleted_is_an_error_and_no_empty_store(
    disk: DiskFileStore,
) -> None:
    shutil.rmtree(disk._folder)
    for call in (
        disk.info("file_a"),
        disk.usage("identity:ann"),
        disk.create(new_file(owner="ann"), chunks(b"x")),
        disk.delete_session(new_session()),
    ):
        with pytest.raises(Unavailable):
            await call
    assert not disk._folder.exists()


async def test_a_damaged_index_is_an_error(disk: DiskFileStore) -> None:
    (disk._folder / "index.sqlite3").write_bytes(b"nonsense" * 1000)
    with pytest.raises(Unavailable):
        await disk.usage("identity:ann")
    with pytest.raises(Unavailable):
        await DiskFileStore(disk._folder).open()


async def test_content_that_is_missing_or_cut_is_never_taken_for_the_whole(
    disk: DiskFileStore,
) -> None:
    info = await disk.create(new_file(owner="ann"), chunks(b"x" * 1000))
    disk._path(info.id).write_bytes(b"x" * 500)
    with pytest.raises(Unavailable):
        await content(disk, info.id)
    disk._path(info.id).unlink()
    with pytest.raises(NotFound):
        await content(disk, info.id)
    await disk.delete(info.id)


async def test_a_reader_keeps_a_file_that_is_deleted_meanwhile(disk: DiskFileStore) -> None:
    info = await disk.create(new_file(owner="ann"), chunks(bytes(1_000_000)))
    reading = disk.read(info.id)
    read = len(await anext(reading))
    await disk.delete(info.id)
    async for part in reading:
        read += len(part)
    assert read == 1_000_000


async def test_memory_that_is_full_is_an_error_and_leaves_nothing() -> None:
    store = MemoryFileStore(max_size=100)
    kept = await store.create(new_file(owner="ann"), chunks(bytes(60)))
    for _ in range(2):
        with pytest.raises(StorageFull):
            await store.create(new_file(owner="bob"), chunks(bytes(30), bytes(30)))
    await store.delete(kept.id)
    await store.create(new_file(owner="bob"), chunks(bytes(100)))

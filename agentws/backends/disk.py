"""Files in a folder, with an SQLite index beside them.

The index is the truth: a file exists when its row says that it is complete. A row is written before
the file's first byte and completed after its last one is synced; a file is deleted by marking its
row first. So after a crash at any point the index knows every file that is on the disk, and a sweep
removes those that are not complete. No folder is ever scanned.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from ..bus import Scope
from ..errors import NotFound, StorageFull, Unavailable
from ..files import FileInfo, FileStore, Measure, NewFile, Quota, Usage

T = TypeVar("T")

CHUNK: Final = 256 * 1024
"""Bytes that are read or written at once, in a thread."""
BUSY_TIMEOUT: Final = 10.0
"""Seconds that a call waits for other nodes, which use the same index."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS files (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    owner TEXT,
    session TEXT,
    created REAL NOT NULL,
    holder TEXT NOT NULL,
    size INTEGER NOT NULL DEFAULT 0,
    sha256 TEXT NOT NULL DEFAULT '',
    complete INTEGER NOT NULL DEFAULT 0,
    deleting INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS files_by_holder ON files (holder);
CREATE INDEX IF NOT EXISTS files_by_session ON files (session);
CREATE INDEX IF NOT EXISTS files_by_created ON files (created);
CREATE TABLE IF NOT EXISTS attached (
    session TEXT NOT NULL,
    file TEXT NOT NULL,
    PRIMARY KEY (session, file)
);
CREATE INDEX IF NOT EXISTS attached_by_file ON attached (file);
"""
_COLUMNS: Final = "id, name, type, owner, session, created, size, sha256"
# An upload of the file, which may be going on, can't complete it any more.
_MARK_DELETED: Final = "UPDATE files SET complete = 0, deleting = 1 WHERE id = ?"
_IS_ATTACHED: Final = "EXISTS (SELECT 1 FROM attached WHERE file = files.id)"


class DiskFileStore(FileStore):
    """Keeps files in ``folder``, which is created when the store is opened.

    Several processes of one host may use the same folder. It must not be on a network file system:
    SQLite's locks do not work there.
    """

    scope: Scope = "host"

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Raises TypeError or ValueError for what is the path of no folder."""
        path = os.fspath(folder)
        if not isinstance(path, str):
            raise TypeError(f"the folder of the files is {folder!r:.100}; expected a str or a Path")
        if not path.strip() or "\0" in path:
            raise ValueError(f"the folder of the files is {path!r:.100}; expected a path")
        try:
            self._folder = Path(path).expanduser()
        except RuntimeError:
            raise ValueError(
                f"the folder of the files is {path!r:.100}, and there is no such home directory"
            ) from None

    def __repr__(self) -> str:
        return f"<DiskFileStore {self._folder}>"

    async def open(self) -> None:
        await asyncio.to_thread(self._prepare)

    def _prepare(self) -> None:
        with _translated():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._data.mkdir(mode=0o700, exist_ok=True)
            with closing(self._connect(create=True)) as index:
                index.executescript(_SCHEMA)

    # The index

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _path(self, id: str) -> Path:
        return self._data / id

    def _connect(self, *, create: bool = False) -> sqlite3.Connection:
        # Without `create` a folder that was deleted is an error, not an empty index.
        uri = (self._folder / "index.sqlite3").absolute().as_uri()
        mode = "rwc" if create else "rw"
        return sqlite3.connect(
            f"{uri}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None
        )

    async def _change(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs ``work`` in a thread, in one transaction that no other node's can overlap."""

        def run() -> T:
            with _translated(), closing(self._connect()) as index:
                index.execute("BEGIN IMMEDIATE")
                with index:
                    return work(index)

        return await asyncio.to_thread(run)

    async def _look(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs ``work``, which only reads, in a thread."""

        def run() -> T:
            with _translated(), closing(self._connect()) as index:
                return work(index)

        return await asyncio.to_thread(run)

    # Writing

    async def create(
        self, new: NewFile, chunks: AsyncIterator[bytes], *, quota: Quota | None = None
    ) -> FileInfo:
        writing, measure = _Writing(self._path(new.id)), Measure()
        try:
            await self._change(lambda index: _insert(index, new))
            async for part in _in_parts(chunks):
                measure.add(part)
                await asyncio.to_thread(writing.write, part)
            await asyncio.to_thread(writing.finish)
            info = measure.complete(new)
            await self._change(lambda index: _complete(index, info, quota))
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._discard, writing, new.id))
            raise
        return info

    def _discard(self, writing: _Writing, id: str) -> None:
        """Removes an upload that failed. What can't be removed now is swept later."""
        with suppress(OSError, sqlite3.Error):
            writing.discard()
            with closing(self._connect()) as index:
                index.execute("DELETE FROM files WHERE id = ?", (id,))

    # Reading

    async def info(self, id: str) -> FileInfo:
        return await self._look(lambda index: _info(index, id))

    async def read(
        self, id: str, *, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        info = await self.info(id)
        left = max(0, (info.size if stop is None else min(stop, info.size)) - start)
        reading = await asyncio.to_thread(_Reading, self._path(id), start)
        try:
            while left:
                part = await asyncio.to_thread(reading.read, min(left, CHUNK))
                left -= len(part)
                yield part
        finally:
            await asyncio.to_thread(reading.close)

    # Sessions

    async def attach(self, ids: Sequence[str], session: str) -> None:
        def work(index: sqlite3.Connection) -> None:
            for id in ids:
                _info(index, id)
                index.execute("INSERT OR IGNORE INTO attached VALUES (?, ?)", (session, id))

        await self._change(work)

    async def sessions(self, id: str) -> Sequence[str]:
        query = "SELECT session FROM attached WHERE file = ? ORDER BY session"
        return await self._look(lambda index: _firsts(index, query, id))

    async def usage(self, holder: str) -> Usage:
        return await self._look(lambda index: _usage(index, holder))

    # Deleting

    async def delete(self, id: str) -> None:
        await self._remove(lambda index: [id])

    async def delete_session(self, session: str) -> None:
        def choose(index: sqlite3.Connection) -> list[str]:
            named = (
                "SELECT id FROM files WHERE session = ?"
                " UNION SELECT file FROM attached WHERE session = ?"
            )
            candidates = _firsts(index, named, session, session)
            index.execute("DELETE FROM attached WHERE session = ?", (session,))
            query = f"SELECT id FROM files WHERE id = ? AND NOT {_IS_ATTACHED}"
            return [id for one in candidates for id in _firsts(index, query, one)]

        await self._remove(choose)

    async def sweep(self, *, created_before: float, limit: int = 100) -> int:
        query = (
            "SELECT id FROM files WHERE created < ?"
            f" AND (NOT complete OR NOT {_IS_ATTACHED}) ORDER BY created LIMIT ?"
        )
        return await self._remove(lambda index: _firsts(index, query, created_before, limit))

    async def _remove(self, choose: Callable[[sqlite3.Connection], list[str]]) -> int:
        """Deletes the chosen files: their rows are marked first, and removed last."""

        def mark(index: sqlite3.Connection) -> list[str]:
            ids = choose(index)
            index.executemany(_MARK_DELETED, [(id,) for id in ids])
            index.executemany("DELETE FROM attached WHERE file = ?", [(id,) for id in ids])
            return ids

        ids = await self._change(mark)
        if ids:
            await asyncio.to_thread(self._unlink, ids)
            await self._change(
                lambda index: index.executemany(
                    "DELETE FROM files WHERE id = ? AND NOT complete", [(id,) for id in ids]
                )
            )
        return len(ids)

    def _unlink(self, ids: Sequence[str]) -> None:
        with _translated():
            for id in ids:
                self._path(id).unlink(missing_ok=True)


class _Writing:
    """A file that is being written, in threads, of which one may be left behind by a cancel."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file: Any = None
        self._discarded = False

    def write(self, part: bytes) -> None:
        with self._lock, _translated():
            if not self._discarded:
                self._opened().write(part)

    def finish(self) -> None:
        with self._lock, _translated():
            if not self._discarded:
                file = self._opened()
                file.flush()
                os.fsync(file.fileno())
                file.close()
                _sync_folder(self._path.parent)

    def _opened(self) -> Any:
        if self._file is None:
            self._file = self._path.open("xb")
        return self._file

    def discard(self) -> None:
        with self._lock:
            self._discarded = True
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()
                self._path.unlink(missing_ok=True)


class _Reading:
    """A file that is being read, in threads, of which one may be left behind by a cancel.

    The lock keeps that one from reading what was closed: another file may have its descriptor.
    """

    def __init__(self, path: Path, start: int) -> None:
        self._lock = threading.Lock()
        try:
            self._file: Any = path.open("rb", buffering=0)
        except FileNotFoundError as error:
            raise NotFound("There is no such file.") from error
        except OSError as error:
            raise Unavailable("The folder of the files can't be used.") from error
        self._file.seek(start)

    def read(self, size: int) -> bytes:
        """The next bytes, ``size`` at most and one at least."""
        with self._lock, _translated():
            part: bytes = self._file.read(size)
        if not part:
            raise Unavailable("A file is shorter than it was when it was stored.")
        return part

    def close(self) -> None:
        with self._lock:
            self._file.close()


async def _in_parts(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in parts of at least ``CHUNK``, the last one excepted; one at least."""
    gathered, size = [b""], 0
    async for chunk in chunks:
        gathered.append(chunk)
        size += len(chunk)
        if size >= CHUNK:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)


def _sync_folder(folder: Path) -> None:
    """Makes the entry of a new file durable. Windows has no such call, and needs none."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# Rows


def _insert(index: sqlite3.Connection, new: NewFile) -> None:
    row = (new.id, new.name, new.type, new.owner, new.session, new.created, new.holder)
    index.execute(
        "INSERT INTO files (id, name, type, owner, session, created, holder)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        row,
    )


def _complete(index: sqlite3.Connection, info: FileInfo, quota: Quota | None) -> None:
    done = index.execute(
        "UPDATE files SET size = ?, sha256 = ?, complete = 1 WHERE id = ? AND NOT deleting",
        (info.size, info.sha256, info.id),
    )
    if not done.rowcount:
        raise NotFound("The session of this file was deleted.")
    if quota is not None:
        quota.check(_usage(index, info.holder))


def _info(index: sqlite3.Connection, id: str) -> FileInfo:
    row = index.execute(f"SELECT {_COLUMNS} FROM files WHERE id = ? AND complete", (id,)).fetchone()
    if row is None:
        raise NotFound("There is no such file.")
    return FileInfo(**dict(zip(_COLUMNS.split(", "), row, strict=True)))


def _usage(index: sqlite3.Connection, holder: str) -> Usage:
    query = "SELECT count(*), coalesce(sum(size), 0) FROM files WHERE holder = ? AND complete"
    return Usage(*index.execute(query, (holder,)).fetchone())


def _firsts(index: sqlite3.Connection, query: str, *values: Any) -> list[str]:
    return [str(row[0]) for row in index.execute(query, values)]


_FULL: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})


@contextmanager
def _translated() -> Iterator[None]:
    """Translates errors of the file system and of SQLite into ones that reveal no paths."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("There is no room for this file.") from error
        raise Unavailable("The folder of the files can't be used.") from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise StorageFull("There is no room for this file.") from error
        raise Unavailable("The index of the files can't be used.") from error

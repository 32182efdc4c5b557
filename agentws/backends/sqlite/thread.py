"""A thread with one SQLite connection, which runs the queued operations in groups.

The event loop never blocks: connecting, waiting for locks and syncing happen in the thread. A group
wakes the event loop once, however many callers wait for it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, NamedTuple, TypeVar

from ...errors import Misconfigured, StorageFull, Unavailable
from .syncing import SyncedConnection

Operation = TypeVar("Operation")
Connect = Callable[[], SyncedConnection]
Group = Callable[[SyncedConnection, Sequence[Operation]], Sequence[Any]]
"""Runs operations and returns, for each, its result or the exception it raised."""

LARGEST_GROUP: Final = 512

_SENTENCES: Final = {
    sqlite3.SQLITE_BUSY: "The database is locked by another program.",
    sqlite3.SQLITE_LOCKED: "The database is locked by another program.",
    sqlite3.SQLITE_CORRUPT: "The database is damaged.",
    sqlite3.SQLITE_NOTADB: "The file is not a database.",
    sqlite3.SQLITE_READONLY: "The database can't be written to.",
    sqlite3.SQLITE_PERM: "The database can't be accessed.",
    sqlite3.SQLITE_CANTOPEN: "The database can't be opened.",
}
_LASTING: Final = frozenset(
    {
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_CANTOPEN,
    }
)
"""Failures that last until somebody changes the file."""


@contextmanager
def translated() -> Iterator[None]:
    """Translates errors of SQLite and the file system into ones that reveal no paths."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            # An error of the sqlite3 module about how it was called, not one of SQLite.
            raise
        code &= 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise StorageFull() from error
        failure = Misconfigured if code in _LASTING else Unavailable
        raise failure(_SENTENCES.get(code, "The database failed.")) from error
    except OSError as error:
        raise Unavailable("The database file can't be reached.") from error


class FileIdentity:
    """Detects that the database was deleted or replaced while it was open.

    SQLite would write to the deleted files without an error, and what it acknowledged would be lost
    when the process ends.
    """

    def __init__(self, path: str) -> None:
        self._paths = (path, path + "-wal")
        self._opened = [_identity(found) for found in self._find()]

    def _find(self) -> list[os.stat_result]:
        with translated():
            return [os.stat(path) for path in self._paths]

    def check(self) -> int:
        """Raises Unavailable if the files are not the ones that were opened.

        Returns the size of the write-ahead log in bytes.
        """
        found = self._find()
        if [_identity(one) for one in found] != self._opened:
            raise Unavailable("The database file was replaced.")
        return found[1].st_size


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


class _Call(NamedTuple, Generic[Operation]):
    future: asyncio.Future[Any]
    operation: Operation


class DatabaseThread(Generic[Operation]):
    """Runs operations on its own connection, in the order of submission."""

    def __init__(self, name: str, connect: Connect, group: Group[Operation]) -> None:
        self._name = name
        self._connect = connect
        self._group = group
        self._queue: SimpleQueue[_Call[Operation] | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Returns when the connection is open; raises what connecting raised."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._ended = self._loop.create_future()
        # A daemon thread, so that a program that never closes its store can exit.
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name=self._name, daemon=True
        )
        self._thread.start()
        await opened

    async def close(self) -> None:
        """Returns when all submitted operations have ended and the connection is closed.

        May be called on another event loop than :meth:`open`, whose loop may be closed.
        """
        if self._ended is None or self._thread is None:
            return
        self._queue.put(None)
        if self._loop is asyncio.get_running_loop():
            await asyncio.shield(self._ended)
        else:
            await asyncio.to_thread(self._thread.join)

    def submit(self, operation: Operation) -> asyncio.Future[Any]:
        """Queues ``operation``. Once its future is cancelled, its result is dropped."""
        assert self._loop is not None
        future = self._loop.create_future()
        self._queue.put(_Call(future, operation))
        return future

    def _run(self, opened: asyncio.Future[None]) -> None:
        try:
            connection = self._connect()
        except Exception as error:
            self._post([opened, self._ended], [error, None])
            return
        self._post([opened], [None])
        try:
            while self._serve(connection):
                pass
        finally:
            with suppress(sqlite3.Error):
                connection.close()
            self._post([self._ended], [None])

    def _next_group(self) -> list[_Call[Operation]]:
        """All calls that are queued now, at least one; none when the thread is to end."""
        calls: list[_Call[Operation]] = []
        call = self._queue.get()
        with suppress(Empty):
            while call is not None:
                calls.append(call)
                if len(calls) == LARGEST_GROUP:
                    return calls
                call = self._queue.get_nowait()
            if calls:
                self._queue.put(None)
        return calls

    def _serve(self, connection: SyncedConnection) -> bool:
        """Runs one group; returns False when there will be no other.

        A method of its own, so that no reference to the group is kept while the thread waits.
        """
        calls = self._next_group()
        wanted = [call for call in calls if not call.future.done()]
        if not wanted:
            return bool(calls)
        outcomes: Sequence[Any]
        try:
            outcomes = self._group(connection, [call.operation for call in wanted])
        except Exception as error:
            outcomes = [error] * len(wanted)
        self._post([call.future for call in wanted], outcomes)
        return True

    def _post(self, futures: Sequence[asyncio.Future[Any] | None], outcomes: Sequence[Any]) -> None:
        assert self._loop is not None
        # Nobody waits on a closed loop.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_resolve, futures, outcomes)


def _resolve(futures: Sequence[asyncio.Future[Any] | None], outcomes: Sequence[Any]) -> None:
    for future, outcome in zip(futures, outcomes, strict=True):
        if future is None or future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

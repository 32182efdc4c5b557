"""One thread with one SQLite connection, which runs whatever is queued in groups.

The event loop only puts and awaits: connecting, waiting for locks and syncing happen here. A group
wakes the loop once, however many callers wait in it.
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

from ..errors import StorageFull, Unavailable

Operation = TypeVar("Operation")
Group = Callable[[sqlite3.Connection, Sequence[Operation]], Sequence[Any]]
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


@contextmanager
def translated() -> Iterator[None]:
    """Turns what SQLite and the file system raise into sentences that hold no paths."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            # Not SQLite's word but the module's, about how it was called.
            raise
        code &= 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise StorageFull() from error
        raise Unavailable(_SENTENCES.get(code, "The database failed.")) from error
    except OSError as error:
        raise Unavailable("The database file can't be reached.") from error


class FileIdentity:
    """Notices that the database was deleted or replaced under its connections.

    SQLite would go on writing to files that no longer have a name, and acknowledge what vanishes
    with the process.
    """

    def __init__(self, path: str) -> None:
        self._paths = (path, path + "-wal")
        self._seen = self._look()

    def _look(self) -> list[tuple[int, int]]:
        with translated():
            found = [os.stat(path) for path in self._paths]
        return [(stat.st_dev, stat.st_ino) for stat in found]

    def check(self) -> None:
        """Raises Unavailable when the files are not those that were opened."""
        if self._look() != self._seen:
            raise Unavailable("The database file was replaced.")


class _Call(NamedTuple, Generic[Operation]):
    future: asyncio.Future[Any]
    operation: Operation


class DatabaseThread(Generic[Operation]):
    """Runs operations on its own connection, in the order they were submitted."""

    def __init__(
        self, name: str, connect: Callable[[], sqlite3.Connection], group: Group[Operation]
    ) -> None:
        self._name = name
        self._connect = connect
        self._group = group
        self._queue: SimpleQueue[_Call[Operation] | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Returns when the connection stands; raises what connecting raised."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._ended = self._loop.create_future()
        # A daemon: a program that never closes its store can still exit; commits are atomic.
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name=self._name, daemon=True
        )
        self._thread.start()
        await opened

    async def close(self) -> None:
        """Returns when everything submitted before has ended and the connection is closed.

        On another loop than it was opened on, too: that one may be closed.
        """
        if self._ended is None or self._thread is None:
            return
        self._queue.put(None)
        if self._loop is asyncio.get_running_loop():
            await asyncio.shield(self._ended)
        else:
            await asyncio.to_thread(self._thread.join)

    def submit(self, operation: Operation) -> asyncio.Future[Any]:
        """Queues ``operation``; a cancelled future is not begun, or ends without being heard."""
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
        """Whatever is queued now, at least one call; nothing once the thread is to end."""
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

    def _serve(self, connection: sqlite3.Connection) -> bool:
        """Runs one group; false when there will be no other. Keeps nothing of it while it waits."""
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
        # A loop that is closed has nobody left who waits.
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

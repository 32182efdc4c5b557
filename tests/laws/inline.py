"""SQLite without threads: every call runs in its caller, so that the clock can be virtual."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from agentws.backends.sqlite import SQLiteStore
from agentws.backends.sqlite.store import Read, Write
from agentws.backends.sqlite.syncing import SyncedConnection
from agentws.backends.sqlite.thread import Connect, DatabaseThread, Group, Operation

EPOCH = 1_700_000_000.0
"""Seconds since 1970 at which the virtual clock begins."""


class InlineThread(DatabaseThread[Operation]):
    """A database connection without the thread."""

    def __init__(
        self,
        connect: Connect,
        group: Group[Operation],
    ) -> None:
        super().__init__("inline", connect, group)
        self._connecting = connect
        self._running = group
        self._connection: SyncedConnection | None = None

    async def open(self) -> None:
        self._connection = self._connecting()

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def submit(self, operation: Operation) -> asyncio.Future[Any]:
        assert self._connection is not None
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            (outcome,) = self._running(self._connection, [operation])
        except Exception as error:
            outcome = error
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
        return future


class InlineSQLite(SQLiteStore):
    """One handle of a SQLite file, whose leases expire by the loop's clock."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, synchronous="NORMAL", clock=virtual_clock, monotonic=virtual_clock)

    async def open(self) -> None:
        if self._writer is None:
            writer = InlineThread[Write](self._connect_writer, self._commit)
            reader = InlineThread[Read](self._connect_reader, self._query)
            await writer.open()
            await reader.open()
            self._writer, self._reader = writer, reader


def virtual_clock() -> float:
    return EPOCH + asyncio.get_running_loop().time()

"""The store in one SQLite file: durable, for the processes of one host, without a server."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from typing import Any, Literal, TypeVar, cast

from msgspec import UNSET, UnsetType

from ...errors import AgentwsError, StorageFull, Unavailable
from ...protocol.codec import Record
from ...protocol.frames import Durability
from ...protocol.messages import Metadata
from ...protocol.position import Position
from ...settings import Timeout, check_setting
from ...store import (
    PAGE,
    Appended,
    Head,
    Key,
    Lease,
    LeaseRenewer,
    Loaded,
    Node,
    SessionInfo,
    Settled,
    Store,
)
from . import leases, log, nodes, search, sessions
from .bus import SQLiteBus
from .checkpointing import Checkpoints
from .locking import begin_writing
from .log import Append, append_all
from .path import check_place, database_path
from .renewing import SQLiteRenewer
from .schema import connect_reader, connect_writer
from .syncing import SyncedConnection, SyncFailure
from .thread import DatabaseThread, FileIdentity, translated

Result = TypeVar("Result")
Read = Callable[[sqlite3.Connection], Any]
Write = Append | Read


class SQLiteStore(Store):
    """Keeps sessions in the SQLite database at ``path``, which is created if it does not exist.

    ``path`` may begin with ``~``, and may be a URL as SQLAlchemy writes it: ``sqlite:///relative``
    or ``sqlite:////absolute``. Raises ValueError for a path that names no file.

    Several processes of one host may share the file, but not several hosts over a network file
    system. Waiting writes are committed together (group commit): a busy store pays one sync for
    many of them. It syncs when the lock is free again, so that other processes commit meanwhile.

    ``synchronous`` means what it means in SQLite: with ``FULL`` an append that returned, and an
    event that anybody has read, survive a power cut (``EXTRA`` does the same). With ``NORMAL`` they
    survive a killed process, but a power cut may lose the newest appends; the durability is then
    ``process``. A failed sync is final: calls raise Unavailable until the store is opened again.
    ``busy_timeout``: seconds to wait for another process's lock before a call raises Unavailable.
    ``clock`` returns seconds since the epoch, ``monotonic`` the seconds by which leases expire: the
    processes of a host share that clock, which nobody sets, and which stands still while the host
    is suspended. It begins anew when the host is started, and that frees all leases.
    """

    scope = "host"
    durability: Durability = "disk"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Literal["NORMAL", "FULL", "EXTRA"] = "FULL",
        busy_timeout: float = 5.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if synchronous not in ("NORMAL", "FULL", "EXTRA"):
            raise ValueError(f"synchronous is {synchronous!r:.100}; expected NORMAL, FULL or EXTRA")
        check_setting("busy_timeout", busy_timeout, Timeout)
        self._syncs = synchronous != "NORMAL"
        if not self._syncs:
            self.durability = "process"
        self._path = database_path(path)
        self._busy_timeout = busy_timeout
        self._clock = clock
        self._monotonic = monotonic
        self._writer: DatabaseThread[Write] | None = None
        self._reader: DatabaseThread[Read] | None = None
        self._identity: FileIdentity | None = None
        self._failure = SyncFailure()
        self._checkpoints = Checkpoints(self._failure)

    def __repr__(self) -> str:
        return f"<SQLiteStore {os.path.basename(self._path)!r}>"

    async def open(self) -> None:
        if self._writer is not None:
            return
        self._failure = SyncFailure()
        self._checkpoints = Checkpoints(self._failure)
        writer = DatabaseThread[Write]("agentws-sqlite-writer", self._connect_writer, self._commit)
        reader = DatabaseThread[Read]("agentws-sqlite-reader", self._connect_reader, self._query)
        try:
            await writer.open()
            await reader.open()
        except BaseException:
            await _close(reader, writer)
            raise
        self._writer, self._reader = writer, reader

    async def close(self) -> None:
        writer, reader = self._writer, self._reader
        self._writer = self._reader = None
        if reader is not None and writer is not None:
            await _close(reader, writer)

    async def ping(self) -> None:
        await self._read(_ping)

    def default_bus(self) -> SQLiteBus:
        """Reaches all processes of the host that use this file, through sockets beside it."""
        return SQLiteBus(self._path)

    def _connect_writer(self) -> SyncedConnection:
        check_place(self._path)
        connection = connect_writer(self._path, busy_timeout=self._busy_timeout)
        try:
            self._identity = FileIdentity(self._path)
        except Unavailable:
            connection.close()
            raise
        return self._synced(connection)

    def _connect_reader(self) -> SyncedConnection:
        return self._synced(connect_reader(self._path, busy_timeout=self._busy_timeout))

    def _synced(self, connection: SyncedConnection) -> SyncedConnection:
        if self._syncs:
            try:
                with translated():
                    connection.sync_through(self._path, self._failure)
            except Unavailable:
                connection.close()
                raise
        return connection

    # Groups of operations, on the threads

    def _query(self, connection: SyncedConnection, reads: Sequence[Read]) -> list[Any]:
        """Runs all reads in one transaction, which begins after each of them was called."""
        with translated():
            connection.execute("BEGIN")
        try:
            with translated():
                connection.see()
            outcomes = [_read_or_error(read, connection) for read in reads]
        finally:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        connection.make_durable()
        self._check_file()
        return outcomes

    def _commit(self, connection: SyncedConnection, writes: Sequence[Write]) -> Sequence[Any]:
        """Commits all writes in one transaction. If that fails, each gets one of its own.

        A refused operation has written nothing, so it needs no savepoint. When the disk is full,
        or one operation fails, those that can be done alone succeed.
        """
        try:
            return self._transaction(connection, writes)
        except Exception as error:
            hopeless = isinstance(error, Unavailable) and not isinstance(error, StorageFull)
            if len(writes) == 1 or hopeless:
                return [error] * len(writes)
        return [outcome for write in writes for outcome in self._commit(connection, [write])]

    def _transaction(self, connection: SyncedConnection, writes: Sequence[Write]) -> list[Any]:
        self._failure.check()
        with translated():
            begin_writing(connection, timeout=self._busy_timeout)
            before = connection.total_changes
            try:
                outcomes = self._run_all(connection, writes)
                connection.see(wrote=connection.total_changes != before)
                connection.execute("COMMIT")
            except BaseException:
                # After some failures SQLite has rolled back by itself.
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        connection.make_durable()
        self._checkpoints.after_commit(connection, self._check_file())
        return outcomes

    def _run_all(self, connection: sqlite3.Connection, writes: Sequence[Write]) -> list[Any]:
        """In the order of the calls; consecutive appends share their statements."""
        outcomes: list[Any] = []
        for appending, run in groupby(writes, key=lambda write: isinstance(write, Append)):
            if appending:
                appends = cast("list[Append]", list(run))
                outcomes += append_all(connection, appends, now=self._clock())
            else:
                outcomes += [_write_or_refusal(cast("Read", write), connection) for write in run]
        return outcomes

    def _check_file(self) -> int:
        if self._identity is None:
            raise Unavailable("The store is not open.")
        self._failure.check()
        return self._identity.check()

    async def _read(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        if self._reader is None:
            raise Unavailable("The store is not open.")
        return cast("Result", await self._reader.submit(read))

    async def _write(self, write: Callable[[sqlite3.Connection], Result]) -> Result:
        if self._writer is None:
            raise Unavailable("The store is not open.")
        return cast("Result", await self._writer.submit(write))

    # Sessions

    async def create(self, info: SessionInfo, *, epoch: str) -> tuple[SessionInfo, bool]:
        return await self._write(partial(sessions.create, wanted=info, epoch=epoch))

    async def info(self, session: str) -> SessionInfo:
        return await self._read(partial(sessions.info, session=session))

    async def load(self, session: str) -> Loaded:
        return await self._read(partial(sessions.load, session=session))

    async def update(
        self,
        session: str,
        *,
        title: str | None = None,
        metadata: Metadata | None = None,
        agent: str | None = None,
        retention: float | UnsetType | None = UNSET,
        keep_title: bool = False,
    ) -> SessionInfo:
        change = sessions.Change(title, metadata, agent, retention, keep_title)
        return await self._write(
            partial(sessions.update, session=session, change=change, clock=self._clock)
        )

    async def sessions(
        self, *, owner: str, before: tuple[float, str] | None = None, limit: int = 50
    ) -> Sequence[SessionInfo]:
        return await self._read(partial(sessions.sessions, owner=owner, before=before, limit=limit))

    async def search(
        self,
        owner: str,
        query: str,
        *,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> Sequence[SessionInfo]:
        return await self._read(
            partial(search.search, owner=owner, query=query, before=before, limit=limit)
        )

    async def maintain(self) -> bool:
        batches = await self._read(search.due)
        if batches:
            await self._write(partial(search.index, batches=batches))
        return bool(batches)

    async def delete(self, session: str, *, updated: float | None = None) -> bool:
        return await self._write(
            partial(sessions.delete, session=session, updated=updated, monotonic=self._monotonic)
        )

    async def stale(self, *, retention: float | None, limit: int = 100) -> Sequence[SessionInfo]:
        return await self._read(
            partial(
                sessions.stale,
                retention=retention,
                limit=limit,
                clock=self._clock,
                monotonic=self._monotonic,
            )
        )

    # The log

    async def append(
        self,
        session: str,
        events: Sequence[bytes],
        *,
        key: Key | None = None,
        fence: str | None = None,
        settled: Settled | None = None,
        expect: int | None = None,
        commutes: bool = False,
    ) -> Appended:
        if self._writer is None:
            raise Unavailable("The store is not open.")
        append = Append(session, events, key, fence, settled, expect, commutes)
        return cast("Appended", await self._writer.submit(append))

    async def find(self, session: str, key: Key) -> Appended | None:
        return await self._read(partial(log.find, session=session, key=key))

    async def head(self, session: str) -> Head:
        return await self._read(partial(log.head, session=session))

    async def heads(self, sessions: Sequence[str]) -> Sequence[int | None]:
        return await self._read(partial(log.heads, sessions=sessions))

    async def read(
        self, session: str, *, after: Position | None = None, limit: int = PAGE
    ) -> Sequence[Record]:
        return await self._read(partial(log.read, session=session, after=after, limit=limit))

    async def read_back(self, session: str, *, before: int, limit: int = PAGE) -> Sequence[Record]:
        return await self._read(partial(log.read_back, session=session, before=before, limit=limit))

    async def compact(
        self, session: str, *, first: int, last: int, records: Sequence[Record]
    ) -> None:
        await self._write(
            partial(log.compact, session=session, first=first, last=last, records=records)
        )

    # Leases

    async def lease(self, session: str, *, owner: str, ttl: float) -> Lease | None:
        return await self._write(
            partial(leases.lease, session=session, owner=owner, ttl=ttl, clock=self._monotonic)
        )

    async def renew(self, owner: str, sessions: Sequence[str], *, ttl: float) -> Sequence[str]:
        return await self._write(
            partial(leases.renew, owner=owner, wanted=sessions, ttl=ttl, clock=self._monotonic)
        )

    async def release(self, lease: Lease) -> None:
        await self._write(partial(leases.release, lease=lease))

    async def unsettled(self, *, limit: int = 100) -> Sequence[str]:
        return await self._read(partial(leases.unsettled, clock=self._monotonic, limit=limit))

    def lease_renewer(self) -> LeaseRenewer:
        return SQLiteRenewer(self._path, check_file=self._check_file, clock=self._monotonic)

    # Nodes

    async def beat(self, node: str, *, instance: str, data: bytes, ttl: float) -> bool:
        beat = partial(nodes.beat, node=node, instance=instance, data=data, ttl=ttl)
        return await self._write(partial(beat, clock=self._clock))

    async def nodes(self) -> Sequence[Node]:
        return await self._read(partial(nodes.nodes, clock=self._clock))

    async def leave(self, node: str, *, instance: str) -> None:
        await self._write(partial(nodes.leave, node=node, instance=instance))


async def _close(reader: DatabaseThread[Read], writer: DatabaseThread[Write]) -> None:
    """Closes the reader first: the last connection to close checkpoints the write-ahead log."""
    try:
        await reader.close()
    finally:
        await writer.close()


def _read_or_error(read: Read, connection: sqlite3.Connection) -> Any:
    """The result of a read, or its exception: the other reads of its group are not affected."""
    try:
        with translated():
            return read(connection)
    except Exception as error:
        return error


def _write_or_refusal(write: Read, connection: sqlite3.Connection) -> Any:
    """The result of a write, or its refusal. Raises a failure, which rolls back the whole group."""
    try:
        return write(connection)
    except AgentwsError as error:
        return error


def _ping(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

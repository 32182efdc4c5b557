"""Syncs the write-ahead log after a commit, when the write lock is free again.

SQLite's own ``synchronous = FULL`` syncs inside COMMIT, with the write lock: all processes of the
host together then commit once per sync. With ``NORMAL`` it syncs only where it has to: the log
before a checkpoint, and the database before the log is overwritten. So what a sync of the log finds
there is durable afterwards, and what it does not find there is durable in the database. The frames
of the log are checksummed in sequence: after a power cut SQLite keeps a prefix of the commits.

The commits of others can be read before they are synced. So a connection also syncs before it
answers with what it has only read.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from typing import Final

from ...errors import Unavailable

logger: Final = logging.getLogger("agentws")

_FAILED: Final = "The database could not be synced to the disk, and must be opened again."


def sync_file(descriptor: int) -> None:
    """Returns when what was written to the file is on the disk."""
    # Not every system has fdatasync.
    getattr(os, "fdatasync", os.fsync)(descriptor)


class SyncFailure:
    """Whether a sync of an open database has failed; all its connections share one.

    A failure is final. The kernel may drop the pages that it could not write, and the next sync
    would succeed without them.
    """

    def __init__(self) -> None:
        self._failed = False
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raises Unavailable once a sync has failed."""
        if self._failed:
            raise Unavailable(_FAILED)

    def report(self, reason: str) -> Unavailable:
        """Notes a failure, and logs the first one. Returns the error for the callers."""
        with self._lock:
            first, self._failed = not self._failed, True
        if first:
            logger.critical(
                "The SQLite database could not be synced (%s). Appends since the last sync may be "
                "lost by a power cut, and the store answers no more calls. Look for errors of the "
                "disk, and restart all processes that use the file.",
                reason,
            )
        return Unavailable(_FAILED)


class SyncedConnection(sqlite3.Connection):
    """A connection that can make durable what its transactions have written and read.

    In each transaction ``see`` is called, after it ``make_durable``, and only then is anybody told
    of its outcome. Without ``sync_through`` both do nothing.
    """

    _wal: int | None = None
    _failure: SyncFailure
    _pending = True
    """Whether this connection may have seen what is not synced. At first: what it opened with."""
    _seen: int | None = None
    _synced: int | None = None

    def sync_through(self, path: str, failure: SyncFailure) -> None:
        """From now on ``make_durable`` syncs the write-ahead log of the database at ``path``.

        The log exists as long as a connection is open. No locks are on it, so that closing its
        descriptor drops none of SQLite's. Each connection has a descriptor of its own: the kernel
        reports a failure to each descriptor once. Raises OSError if there is no such file.
        """
        self._wal = os.open(path + "-wal", os.O_RDWR)
        self._failure = failure

    def see(self, *, wrote: bool = False) -> None:
        """Notes what the current transaction can see. ``wrote``: whether it changed anything."""
        if self._wal is None:
            return
        if wrote:
            self._pending = True
            return
        # It changes with the commits of other connections. It belongs to the transaction: a commit
        # that it does not count is not seen here either.
        self._seen = self.execute("PRAGMA data_version").fetchone()[0]
        self._pending = self._pending or self._seen != self._synced

    def make_durable(self) -> None:
        """Returns when all that was seen is on the disk. Raises Unavailable if it can't be."""
        if self._wal is None:
            return
        self._failure.check()
        if not self._pending:
            return
        try:
            sync_file(self._wal)
        except OSError as error:
            raise self._failure.report(os.strerror(error.errno or 0)) from error
        self._pending, self._synced = False, self._seen

    def close(self) -> None:
        wal, self._wal = self._wal, None
        if wal is not None:
            os.close(wal)
        super().close()

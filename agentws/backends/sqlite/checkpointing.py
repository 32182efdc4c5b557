"""Copies the write-ahead log to the database, so that it is written from its beginning again.

SQLite would do so after each commit that finds more than 1000 pages in the log, beside the commits
of other processes. While several processes write, there is always a commit that it has not copied:
the log never begins anew, it grows, and each commit pays for a checkpoint, with its syncs.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Final

from .locking import PAUSE
from .syncing import SyncFailure

LIMIT: Final = 4 << 20
"""Bytes of the log after which it is copied, and which the file keeps when it begins anew."""
_TRIES: Final = 20


def checkpoint_at_limit(connection: sqlite3.Connection) -> None:
    """From now on, no commit of this connection makes a checkpoint: ``Checkpoints`` does."""
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(f"PRAGMA journal_size_limit = {LIMIT}")


class Checkpoints:
    """Makes a checkpoint whenever the log has grown by ``LIMIT`` beyond its size at the last one.

    That is once per ``LIMIT``: the file is cut when the log begins anew. While a long read prevents
    that, the log grows, and no commit waits for the read.
    """

    def __init__(self, failure: SyncFailure) -> None:
        self._failure = failure
        self._above = LIMIT

    def after_commit(self, connection: sqlite3.Connection, size: int) -> None:
        """``size``: bytes of the log now.

        A checkpoint that fails is tried again later. Raises Unavailable if its sync has failed: the
        log must not be overwritten then.
        """
        if size <= LIMIT:
            self._above = LIMIT
        elif size > self._above:
            self._above = size + LIMIT
            try:
                _checkpoint(connection)
            except sqlite3.Error as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_IOERR_FSYNC:
                    raise self._failure.report(str(error)) from error


def _checkpoint(connection: sqlite3.Connection) -> None:
    # Most of it without the write lock, unless another process is doing it.
    if _is_busy(connection, "PASSIVE"):
        return
    for _ in range(_TRIES):
        # The rest with the lock, if it is free.
        if not _is_busy(connection, "FULL"):
            return
        time.sleep(PAUSE)


def _is_busy(connection: sqlite3.Connection, mode: str) -> bool:
    return bool(connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()[0])

"""How a connection waits for the write lock of its file, which one process has at a time."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

PAUSE: Final = 0.0002
"""Seconds between two tries. While all wait, nobody writes.

SQLite's own pauses are whole milliseconds, and grow to 100 ms: who has waited longest then tries
least often, and may get no turn for seconds while other processes write all the time.
"""


def wait_in_short_pauses(connection: sqlite3.Connection) -> None:
    """From now on, no statement of this connection waits for a lock: ``begin_writing`` does."""
    connection.execute("PRAGMA busy_timeout = 0")


def begin_writing(connection: sqlite3.Connection, *, timeout: float) -> None:
    """Begins a transaction that has the write lock; tries for ``timeout`` seconds to get it."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            is_locked = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_locked or time.monotonic() >= deadline:
                raise
        time.sleep(PAUSE)

"""Renews leases in the SQLite file from any thread, over a connection of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress

from ...store import LeaseRenewer
from .leases import renew
from .schema import connect_renewer
from .sessions import Clock
from .thread import translated


class SQLiteRenewer(LeaseRenewer):
    """Renews in the file at ``path``; ``check_file`` raises Unavailable if that was replaced."""

    def __init__(self, path: str, *, check_file: Callable[[], object], clock: Clock) -> None:
        self._path = path
        self._check_file = check_file
        self._clock = clock
        self._connection: sqlite3.Connection | None = None

    def renew(self, owner: str, sessions: Sequence[str], *, ttl: float) -> Sequence[str]:
        try:
            with translated():
                return self._renew(owner, sessions, ttl)
        except BaseException:
            # The file may be replaced, or the connection unusable: the next renewal opens another.
            self.close()
            raise

    def _renew(self, owner: str, sessions: Sequence[str], ttl: float) -> Sequence[str]:
        connection = self._connection
        if connection is None:
            # Before connecting: that would create a file that was deleted.
            self._check_file()
            connection = self._connection = connect_renewer(self._path, busy_timeout=ttl / 4)
        connection.execute("BEGIN IMMEDIATE")
        kept = renew(connection, owner, sessions, ttl, self._clock)
        connection.execute("COMMIT")
        self._check_file()
        return kept

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error), closing(connection):
                connection.rollback()

"""The SQLite database: its schema and migrations, and how connections to it are opened.

``session`` has one row per log with the log's head and lease, so that an append checks and updates
one row. ``event`` is clustered by log and seq, so that a page of a log is contiguous.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import Final

from ...errors import Misconfigured
from .checkpointing import checkpoint_at_limit
from .locking import wait_in_short_pauses
from .syncing import SyncedConnection
from .thread import translated

OLDEST_SQLITE: Final = (3, 33, 0)
APPLICATION_ID: Final = 0x61677773
"""Marks the file as ours ("agws"): the database of another program is never written to."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE session (
            log INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            owner TEXT,
            agent TEXT NOT NULL,
            created REAL NOT NULL,
            updated REAL NOT NULL,
            title TEXT,
            metadata TEXT,
            epoch TEXT NOT NULL,
            seq INTEGER NOT NULL DEFAULT 0,
            tag TEXT NOT NULL DEFAULT '',
            settled INTEGER NOT NULL DEFAULT 0,
            trimmed INTEGER NOT NULL DEFAULT 0,
            fence INTEGER NOT NULL DEFAULT 0,
            holder TEXT,
            expires REAL NOT NULL DEFAULT 0
        )
        """,
        "CREATE INDEX session_owner ON session (owner, updated)",
        "CREATE INDEX session_updated ON session (updated)",
        "CREATE INDEX session_unsettled ON session (log) WHERE seq > settled",
        """
        CREATE TABLE event (
            log INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            tag TEXT NOT NULL,
            data BLOB NOT NULL,
            PRIMARY KEY (log, seq)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE key (
            log INTEGER NOT NULL,
            id TEXT NOT NULL,
            digest TEXT NOT NULL,
            seq INTEGER NOT NULL,
            tag TEXT NOT NULL,
            PRIMARY KEY (log, id)
        ) WITHOUT ROWID
        """,
        "CREATE TABLE deleted (id TEXT PRIMARY KEY) WITHOUT ROWID",
    ),
    (
        # A new table, since the oldest supported SQLite can't drop a column.
        """
        CREATE TABLE session_2 (
            log INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            owner TEXT,
            agent TEXT NOT NULL,
            created REAL NOT NULL,
            updated REAL NOT NULL,
            title TEXT,
            metadata TEXT,
            epoch TEXT NOT NULL,
            seq INTEGER NOT NULL DEFAULT 0,
            tag TEXT NOT NULL DEFAULT '',
            settled INTEGER NOT NULL DEFAULT 0,
            fence INTEGER NOT NULL DEFAULT 0,
            holder TEXT,
            expires REAL NOT NULL DEFAULT 0,
            ttl REAL NOT NULL DEFAULT 0
        )
        """,
        """
        INSERT INTO session_2 (log, id, owner, agent, created, updated, title, metadata, epoch,
                               seq, tag, settled, fence, holder, expires)
        SELECT log, id, owner, agent, created, updated, title, metadata, epoch,
               seq, tag, settled, fence, holder, expires
        FROM session
        """,
        "DROP TABLE session",
        "ALTER TABLE session_2 RENAME TO session",
        "CREATE INDEX session_owner ON session (owner, updated, id)",
        "CREATE INDEX session_updated ON session (updated, id)",
        "CREATE INDEX session_unsettled ON session (updated, id) WHERE seq > settled",
        # Not in the session's row, which every append rewrites.
        "CREATE TABLE carried (log INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    ),
    (
        "ALTER TABLE session ADD COLUMN version INTEGER NOT NULL DEFAULT 0",
        "UPDATE session SET version = seq",
    ),
    (
        "ALTER TABLE session ADD COLUMN retention REAL",
        "DROP INDEX session_updated",
        "CREATE INDEX session_updated ON session (updated, id) WHERE retention IS NULL",
        "CREATE INDEX session_expiry ON session (updated + retention, id) "
        "WHERE retention IS NOT NULL",
    ),
    (
        # The titles and messages of older sessions are indexed later, a few at a time.
        "ALTER TABLE session ADD COLUMN indexed INTEGER NOT NULL DEFAULT -1",
        "CREATE INDEX session_unindexed ON session (log) "
        "WHERE indexed < settled AND owner IS NOT NULL",
        """
        CREATE TABLE passage (
            id INTEGER PRIMARY KEY,
            log INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            words TEXT NOT NULL
        )
        """,
        "CREATE INDEX passage_log ON passage (log, seq)",
        # Words come separated by spaces: every other character is part of one.
        """
        CREATE VIRTUAL TABLE search USING fts5 (
            words, content = 'passage', content_rowid = 'id',
            tokenize = "unicode61 remove_diacritics 0 categories 'L* M* N* P* S* C*'"
        )
        """,
        """
        CREATE TRIGGER passage_added AFTER INSERT ON passage BEGIN
            INSERT INTO search (rowid, words) VALUES (new.id, new.words);
        END
        """,
        """
        CREATE TRIGGER passage_removed AFTER DELETE ON passage BEGIN
            INSERT INTO search (search, rowid, words) VALUES ('delete', old.id, old.words);
        END
        """,
    ),
    (
        """
        CREATE TABLE node (
            id TEXT PRIMARY KEY,
            instance TEXT NOT NULL,
            data BLOB NOT NULL,
            expires REAL NOT NULL,
            ttl REAL NOT NULL
        ) WITHOUT ROWID
        """,
    ),
)
"""The statements that migrate the schema from version n - 1 to n."""


def connect_writer(path: str, *, busy_timeout: float) -> SyncedConnection:
    """Opens the connection that writes; creates the database and migrates its schema.

    It begins to write by ``begin_writing``, which waits for the lock. It syncs no commit by itself.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise Misconfigured("This SQLite is too old: 3.33 or newer is needed.")
    if not _has_fts5():
        raise Misconfigured("This SQLite was built without FTS5, which the search needs.")
    with translated():
        connection = _connect(path, busy_timeout)
        try:
            _refuse_foreign(connection)
            _enter_wal(connection, busy_timeout)
            connection.execute("PRAGMA synchronous = NORMAL")
            # What a large statement needs for its undoing would otherwise be a new file each time.
            connection.execute("PRAGMA temp_store = MEMORY")
            checkpoint_at_limit(connection)
            _migrate(connection)
            wait_in_short_pauses(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def connect_renewer(path: str, *, busy_timeout: float) -> sqlite3.Connection:
    """Opens a connection that renews leases, from any thread. The writer has created the schema.

    A lease need not survive a power cut, so its renewal is not synced.
    """
    with translated():
        connection = sqlite3.connect(
            path, timeout=busy_timeout, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = NORMAL")
        checkpoint_at_limit(connection)
    return connection


def connect_reader(path: str, *, busy_timeout: float) -> SyncedConnection:
    """Opens a connection that can't write. The writer has created the schema before."""
    with translated():
        connection = _connect(path, busy_timeout)
        connection.execute("PRAGMA query_only = ON")
        # SQLite opens the files with the first query: now, while they are the writer's files.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return connection


def _connect(path: str, busy_timeout: float) -> SyncedConnection:
    return sqlite3.connect(
        path, timeout=busy_timeout, isolation_level=None, factory=SyncedConnection
    )


def _has_fts5() -> bool:
    with closing(sqlite3.connect(":memory:")) as connection:
        options = connection.execute("PRAGMA compile_options").fetchall()
    return ("ENABLE_FTS5",) in options


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _refuse_foreign(connection: sqlite3.Connection) -> None:
    """Refuses another program's database before anything is written, even the journal mode."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and _pragma(connection, "application_id") != APPLICATION_ID:
        raise Misconfigured("The file is another program's database.")
    version = _pragma(connection, "user_version")
    if version < 0:
        raise Misconfigured("The file is another program's database.")
    if version > len(MIGRATIONS):
        raise Misconfigured(
            f"The database has schema {version}, newer than the {len(MIGRATIONS)} known here: "
            "a newer agentws wrote it."
        )


def _enter_wal(connection: sqlite3.Connection, busy_timeout: float) -> None:
    """Turns the write-ahead log on. Waits for locks, since SQLite does not in this case.

    Two processes may open a new database at the same time.
    """
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise Misconfigured("The file system of the database can't keep a write-ahead log.")


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    # Checked again under the lock: another process may have migrated it meanwhile.
    _refuse_foreign(connection)
    for statements in MIGRATIONS[_pragma(connection, "user_version") :]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("COMMIT")

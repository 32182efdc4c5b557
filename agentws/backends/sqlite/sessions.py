"""The operations on sessions: the facts about them besides their logs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from ...errors import NotFound
from ...protocol.messages import Metadata
from ...store import Loaded, SessionInfo
from . import passages
from .log import as_json, decode_strings, head

Clock = Callable[[], float]

_COLUMNS: Final = "id, owner, agent, created, updated, title, metadata, retention"

LEASED: Final = "(holder IS NOT NULL AND expires > :lease AND expires <= :lease + 2 * ttl)"
"""Whether the session has a valid lease at ``:lease``, a time of the clock that leases expire by;
see :mod:`agentws.backends.sqlite.leases`."""
# The conditions are written as in the indexes, which SQLite would not use otherwise.
_EXPIRED_BY_OWN: Final = f"""
    SELECT updated + retention, {_COLUMNS} FROM session
    WHERE retention IS NOT NULL AND updated + retention < :now AND NOT {LEASED}
    ORDER BY updated + retention, id LIMIT :limit
"""
_EXPIRED_BY_DEFAULT: Final = f"""
    SELECT updated + :kept, {_COLUMNS} FROM session
    WHERE retention IS NULL AND updated < :now - :kept AND NOT {LEASED}
    ORDER BY updated, id LIMIT :limit
"""


class Change(NamedTuple):
    """New values for a session; see :meth:`agentws.store.Store.update`."""

    title: str | None
    metadata: Metadata | None
    agent: str | None
    retention: float | UnsetType | None
    keep_title: bool


def _info(row: tuple[Any, ...]) -> SessionInfo:
    id, owner, agent, created, updated, title, metadata, retention = row
    return SessionInfo(
        id=id,
        owner=owner,
        agent=agent,
        created=created,
        updated=updated,
        title=title,
        metadata=None if metadata is None else msgspec.json.decode(metadata),
        retention=retention,
    )


def _find(connection: sqlite3.Connection, session: str) -> SessionInfo | None:
    query = f"SELECT {_COLUMNS} FROM session WHERE id = ?"
    row = connection.execute(query, (session,)).fetchone()
    return None if row is None else _info(row)


def create(
    connection: sqlite3.Connection, wanted: SessionInfo, epoch: str
) -> tuple[SessionInfo, bool]:
    known = _find(connection, wanted.id)
    if known is not None:
        return known, False
    used = connection.execute("SELECT 1 FROM deleted WHERE id = ?", (wanted.id,)).fetchone()
    if used is not None:
        raise NotFound("This session was deleted.")
    metadata = None if wanted.metadata is None else as_json(wanted.metadata)
    connection.execute(
        f"INSERT INTO session ({_COLUMNS}, epoch, indexed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
        (
            wanted.id,
            wanted.owner,
            wanted.agent,
            wanted.created,
            wanted.updated,
            wanted.title,
            metadata,
            wanted.retention,
            epoch,
        ),
    )
    if wanted.title is not None:
        passages.index_title(connection, wanted.id)
    return wanted, True


def info(connection: sqlite3.Connection, session: str) -> SessionInfo:
    known = _find(connection, session)
    if known is None:
        raise NotFound("There is no such session.")
    return known


def load(connection: sqlite3.Connection, session: str) -> Loaded:
    return Loaded(info(connection, session), head(connection, session))


def update(
    connection: sqlite3.Connection, session: str, change: Change, clock: Clock
) -> SessionInfo:
    before = info(connection, session)
    kept = before.title if change.keep_title else None
    retention = before.retention if change.retention is UNSET else change.retention
    connection.execute(
        "UPDATE session SET title = coalesce(?, title), metadata = coalesce(?, metadata), "
        "agent = coalesce(?, agent), retention = ?, updated = ? WHERE id = ?",
        (
            kept or change.title,
            None if change.metadata is None else as_json(change.metadata),
            change.agent,
            retention,
            clock(),
            session,
        ),
    )
    after = info(connection, session)
    if after.title != before.title:
        passages.index_title(connection, session)
    return after


def sessions(
    connection: sqlite3.Connection, owner: str, before: tuple[float, str] | None, limit: int
) -> list[SessionInfo]:
    return select_infos(connection, owner, before, limit)


def select_infos(
    connection: sqlite3.Connection,
    owner: str,
    before: tuple[float, str] | None,
    limit: int,
    *,
    also: str = "",
    given: Sequence[str] = (),
) -> list[SessionInfo]:
    """A page of an owner's sessions, the last updated first; ``also``: a further condition."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM session WHERE owner = ? AND (updated, id) < (?, ?) {also} "
        "ORDER BY updated DESC, id DESC LIMIT ?",
        (owner, *(before or (float("inf"), "")), *given, limit),
    )
    return [_info(row) for row in rows.fetchall()]


def delete(
    connection: sqlite3.Connection, session: str, updated: float | None, monotonic: Clock
) -> bool:
    row = connection.execute(
        f"SELECT log, updated, {LEASED} FROM session WHERE id = :id",
        {"id": session, "lease": monotonic()},
    ).fetchone()
    if row is None:
        return True
    log, updated_at, leased = row
    if updated is not None and (updated != updated_at or leased):
        return False
    for table in ("event", "key", "carried", "passage", "session"):
        connection.execute(f"DELETE FROM {table} WHERE log = ?", (log,))
    connection.execute("INSERT INTO deleted (id) VALUES (?)", (session,))
    return True


def stale(
    connection: sqlite3.Connection,
    retention: float | None,
    limit: int,
    clock: Clock,
    monotonic: Clock,
) -> list[SessionInfo]:
    given = {"now": clock(), "lease": monotonic(), "kept": retention, "limit": limit}
    rows = connection.execute(_EXPIRED_BY_OWN, given).fetchall()
    if retention is not None:
        rows += connection.execute(_EXPIRED_BY_DEFAULT, given).fetchall()
    rows.sort(key=lambda row: row[:2])
    return [_info(row[1:]) for row in rows[:limit]]


def select_ids(connection: sqlite3.Connection, query: str, *values: Any) -> list[str]:
    """The ids that ``query`` selects, in its order, as one row."""
    row = connection.execute(f"SELECT json_group_array(id) FROM ({query})", values).fetchone()
    return decode_strings(row[0])

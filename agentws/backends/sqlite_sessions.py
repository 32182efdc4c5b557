"""The operations on sessions: the facts about them besides their logs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ..errors import NotFound
from ..protocol.messages import Metadata
from ..store import SessionInfo
from .sqlite_log import as_json, decode_strings

Clock = Callable[[], float]

_COLUMNS: Final = "id, owner, agent, created, updated, title, metadata"


def _info(row: tuple[Any, ...]) -> SessionInfo:
    id, owner, agent, created, updated, title, metadata = row
    return SessionInfo(
        id=id,
        owner=owner,
        agent=agent,
        created=created,
        updated=updated,
        title=title,
        metadata=None if metadata is None else msgspec.json.decode(metadata),
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
        f"INSERT INTO session ({_COLUMNS}, epoch) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            wanted.id,
            wanted.owner,
            wanted.agent,
            wanted.created,
            wanted.updated,
            wanted.title,
            metadata,
            epoch,
        ),
    )
    return wanted, True


def info(connection: sqlite3.Connection, session: str) -> SessionInfo:
    known = _find(connection, session)
    if known is None:
        raise NotFound("There is no such session.")
    return known


def update(
    connection: sqlite3.Connection,
    session: str,
    title: str | None,
    metadata: Metadata | None,
    agent: str | None,
    clock: Clock,
) -> SessionInfo:
    info(connection, session)
    connection.execute(
        "UPDATE session SET title = coalesce(?, title), metadata = coalesce(?, metadata), "
        "agent = coalesce(?, agent), updated = ? WHERE id = ?",
        (title, None if metadata is None else as_json(metadata), agent, clock(), session),
    )
    return info(connection, session)


def sessions(
    connection: sqlite3.Connection, owner: str, before: tuple[float, str] | None, limit: int
) -> list[SessionInfo]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM session WHERE owner = ? AND (updated, id) < (?, ?) "
        "ORDER BY updated DESC, id DESC LIMIT ?",
        (owner, *(before or (float("inf"), "")), limit),
    )
    return [_info(row) for row in rows.fetchall()]


def delete(connection: sqlite3.Connection, session: str) -> None:
    row = connection.execute("SELECT log FROM session WHERE id = ?", (session,)).fetchone()
    if row is None:
        return
    for table in ("event", "key", "carried", "session"):
        connection.execute(f"DELETE FROM {table} WHERE log = ?", row)
    connection.execute("INSERT INTO deleted (id) VALUES (?)", (session,))


def stale(connection: sqlite3.Connection, updated_before: float, limit: int) -> list[str]:
    return select_ids(
        connection,
        "SELECT id FROM session WHERE updated < ? ORDER BY updated, id LIMIT ?",
        updated_before,
        limit,
    )


def select_ids(connection: sqlite3.Connection, query: str, *values: Any) -> list[str]:
    """The ids that ``query`` selects, in its order, as one row."""
    row = connection.execute(f"SELECT json_group_array(id) FROM ({query})", values).fetchone()
    return decode_strings(row[0])

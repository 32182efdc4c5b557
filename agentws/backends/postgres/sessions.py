"""The operations on sessions in PostgreSQL: the facts about them besides their logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from ...errors import AgentwsError, NotFound
from ...protocol.messages import Metadata
from ...protocol.position import Position
from ...store import Head, Loaded, SessionInfo, Settled
from .log import not_found, rows_of
from .pool import Connection
from .search import passage_of

COLUMNS: Final = "id, owner, agent, created, updated, title, metadata, retention"
_LEASED: Final = (
    "(holder IS NOT NULL AND {schema}.is_valid(expires, ttl, extract(epoch FROM now())::float8))"
)
# The conditions are written as in the indexes, which PostgreSQL would not use otherwise.
_STALE: Final = """
    SELECT {columns} FROM (
        (SELECT updated + retention AS until, {columns} FROM {schema}.session
         WHERE retention IS NOT NULL
            AND updated + retention < extract(epoch FROM now())::float8 AND NOT {leased}
         ORDER BY updated + retention, id LIMIT %(limit)s)
        UNION ALL
        (SELECT updated + %(kept)s::float8 AS until, {columns} FROM {schema}.session
         WHERE retention IS NULL
            AND updated < extract(epoch FROM now())::float8 - %(kept)s::float8 AND NOT {leased}
         ORDER BY updated, id LIMIT %(limit)s)
    ) AS expired ORDER BY until, id LIMIT %(limit)s
"""

_encode: Final = msgspec.json.Encoder().encode


class Change(NamedTuple):
    """New values for a session; see :meth:`agentws.store.Store.update`."""

    title: str | None
    metadata: Metadata | None
    agent: str | None
    retention: float | UnsetType | None
    keep_title: bool


def _text(value: object) -> str:
    return _encode(value).decode()


def info_of(row: Sequence[Any]) -> SessionInfo:
    """The session in a row of ``COLUMNS``."""
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


async def create(
    connection: Connection, schema: str, wanted: SessionInfo, epoch: str
) -> tuple[SessionInfo, bool]:
    given = {
        "id": wanted.id,
        "owner": wanted.owner,
        "agent": wanted.agent,
        "created": wanted.created,
        "updated": wanted.updated,
        "title": wanted.title,
        "metadata": None if wanted.metadata is None else _text(wanted.metadata),
        "retention": wanted.retention,
        "epoch": epoch,
    }
    # Nobody can search what belongs to nobody.
    words, lexemes = passage_of(wanted.title if wanted.owner is not None else None)
    columns = ", ".join(f"(now_is).{name}" for name in COLUMNS.split(", "))
    rows = await rows_of(
        connection,
        f"SELECT outcome, {columns} FROM {schema}.create_session(%s::jsonb, %s, %s::text[])",
        _text(given),
        words,
        lexemes,
    )
    outcome, *row = rows[0]
    if outcome == "deleted":
        raise NotFound("This session was deleted.")
    return info_of(row), outcome == "made"


async def info(connection: Connection, schema: str, session: str) -> SessionInfo:
    query = f"SELECT {COLUMNS} FROM {schema}.session WHERE id = %s"
    rows = await rows_of(connection, query, session)
    if not rows:
        raise not_found()
    return info_of(rows[0])


async def load_all(
    connection: Connection, asked: Sequence[str], *, schema: str
) -> list[Loaded | AgentwsError]:
    """What :meth:`agentws.store.Store.load` returns or raises for each session."""
    columns = ", ".join(f"s.{name}" for name in COLUMNS.split(", "))
    rows = await rows_of(
        connection,
        f"SELECT s.epoch, s.seq, s.tag, s.settled, c.data, {columns} FROM {schema}.session s "
        f"LEFT JOIN {schema}.carried c ON c.log = s.log WHERE s.id = ANY (%s::text[])",
        list(asked),
    )
    found = {}
    for epoch, seq, tag, settled, carried, *facts in rows:
        head = Head(Position(epoch, seq, tag), Settled(settled, carried or b""))
        info = info_of(facts)
        found[info.id] = Loaded(info, head)
    return [found.get(session) or not_found() for session in asked]


async def update(connection: Connection, schema: str, session: str, change: Change) -> SessionInfo:
    title, metadata, agent, retention, keep_title = change
    given: dict[str, Any] = {"title": title, "agent": agent}
    given["metadata"] = None if metadata is None else _text(metadata)
    if retention is not UNSET:
        given["retention"] = retention
    words, lexemes = passage_of(title)
    rows = await rows_of(
        connection,
        f"SELECT {COLUMNS} FROM {schema}.update_session(%s, %s::jsonb, %s, %s, %s::text[])",
        session,
        _text(given),
        keep_title,
        words,
        lexemes,
    )
    if not rows:
        raise not_found()
    return info_of(rows[0])


async def sessions(
    connection: Connection,
    schema: str,
    owner: str,
    before: tuple[float, str] | None,
    limit: int,
    *,
    also: str = "",
    given: Sequence[str] = (),
) -> list[SessionInfo]:
    """A page of an owner's sessions, the last updated first; ``also``: a further condition."""
    rows = await rows_of(
        connection,
        f"SELECT {COLUMNS} FROM {schema}.session "
        f"WHERE owner = %s AND (updated, id) < (%s::float8, %s) {also} "
        "ORDER BY updated DESC, id DESC LIMIT %s",
        owner,
        *(before or (float("inf"), "")),
        *given,
        limit,
    )
    return [info_of(row) for row in rows]


async def delete(connection: Connection, schema: str, session: str, updated: float | None) -> bool:
    query = f"SELECT {schema}.delete_session(%s, %s::float8)"
    rows = await rows_of(connection, query, session, updated)
    return bool(rows[0][0])


async def stale(
    connection: Connection, schema: str, retention: float | None, limit: int
) -> list[SessionInfo]:
    query = _STALE.replace("{leased}", _LEASED).replace("{columns}", COLUMNS)
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(query.replace("{schema}", schema), {"kept": retention, "limit": limit})
        return [info_of(row) for row in await cursor.fetchall()]

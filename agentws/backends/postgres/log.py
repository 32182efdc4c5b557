"""The operations on the logs in PostgreSQL, each one statement; see ``postgres.appends``, too.

``schema`` is a quoted identifier. A statement sees one state of the database, so that the end of a
log and a page of it belong together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ...errors import IdempotencyConflict, NotFound, PositionLost
from ...protocol.codec import Record
from ...protocol.position import Position
from ...store import Appended, Head, Key, Settled
from .pool import Connection

_LARGEST: Final = (1 << 63) - 1

_encode: Final = msgspec.json.Encoder().encode


async def rows_of(connection: Connection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement, sent as they are kept: the bytes of events are not made to text."""
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchall()


def not_found() -> NotFound:
    return NotFound("There is no such session.")


async def find(connection: Connection, schema: str, session: str, key: Key) -> Appended | None:
    rows = await rows_of(
        connection,
        f"SELECT s.epoch, k.digest, k.seq, k.tag FROM {schema}.session s "
        f"LEFT JOIN {schema}.key k ON k.log = s.log AND k.id = %s WHERE s.id = %s",
        key.id,
        session,
    )
    if not rows:
        raise not_found()
    epoch, digest, seq, tag = rows[0]
    if digest is None:
        return None
    if digest != key.digest:
        raise IdempotencyConflict()
    return Appended((), Position(epoch, seq, tag), duplicate=True)


async def head(connection: Connection, schema: str, session: str) -> Head:
    rows = await rows_of(
        connection,
        f"SELECT s.epoch, s.seq, s.tag, s.settled, c.data FROM {schema}.session s "
        f"LEFT JOIN {schema}.carried c ON c.log = s.log WHERE s.id = %s",
        session,
    )
    if not rows:
        raise not_found()
    epoch, seq, tag, settled, carried = rows[0]
    return Head(Position(epoch, seq, tag), Settled(settled, carried or b""))


async def heads(connection: Connection, schema: str, sessions: Sequence[str]) -> list[int | None]:
    rows = await rows_of(
        connection,
        f"SELECT id, seq FROM {schema}.session WHERE id = ANY (%s::text[])",
        list(sessions),
    )
    found: dict[str, int] = dict(rows)
    return [found.get(session) for session in sessions]


async def read(
    connection: Connection, schema: str, session: str, after: Position | None, limit: int
) -> list[Record]:
    seq = 0 if after is None else after.seq
    # The event at the position comes first: it must be there, with the same tag.
    epoch, end, records = await _page(
        connection, schema, session, seq, _LARGEST, limit + (seq > 0), "ASC"
    )
    if after is None:
        return records
    if after.epoch != epoch:
        raise PositionLost("epoch")
    if seq > end:
        raise PositionLost("future")
    if seq == 0:
        return records
    if not records or records[0].seq != seq:
        raise PositionLost("compacted")
    if records[0].tag != after.tag:
        raise PositionLost("diverged")
    return records[1:]


async def read_back(
    connection: Connection, schema: str, session: str, before: int, limit: int
) -> list[Record]:
    last = min(before, _LARGEST) - 1
    _, _, records = await _page(connection, schema, session, 0, last, limit, "DESC")
    return records[::-1]


async def _page(
    connection: Connection,
    schema: str,
    session: str,
    first: int,
    last: int,
    limit: int,
    order: str,
) -> tuple[str, int, list[Record]]:
    """Epoch and end of a log, and its first ``limit`` records from ``first`` to ``last``."""
    rows = await rows_of(
        connection,
        f"""
        SELECT s.epoch, s.seq, e.seq, e.tag, e.data FROM {schema}.session s
        LEFT JOIN LATERAL (
            SELECT seq, tag, data FROM {schema}.event
            WHERE log = s.log AND seq BETWEEN %s AND %s ORDER BY seq {order} LIMIT %s
        ) e ON true
        WHERE s.id = %s ORDER BY e.seq {order}
        """,
        first,
        last,
        max(0, limit),
        session,
    )
    if not rows:
        raise not_found()
    records = [Record(seq, tag, data) for _, _, seq, tag, data in rows if seq is not None]
    return rows[0][0], rows[0][1], records


async def compact(
    connection: Connection,
    schema: str,
    session: str,
    first: int,
    last: int,
    records: Sequence[Record],
) -> None:
    items, start = [], 1
    for record in records:
        size = len(record.data)
        items.append({"seq": record.seq, "tag": record.tag, "start": start, "size": size})
        start += size
    rows = await rows_of(
        connection,
        f"SELECT {schema}.compact(%s, %s::bigint, %s::bigint, %s::jsonb, %b::bytea)",
        session,
        first,
        last,
        _encode(items).decode(),
        b"".join(record.data for record in records),
    )
    if rows != [(True,)]:
        raise not_found()

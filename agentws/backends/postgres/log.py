"""The operations on the logs in PostgreSQL, each one statement; see ``postgres.appends``, too.

``schema`` is a quoted identifier. A statement sees one state of the database, so that the end of a
log and a page of it belong together.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec

from ...errors import AgentwsError, IdempotencyConflict, NotFound, PositionLost
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


class Read(NamedTuple):
    """One caller's read; see :meth:`agentws.store.Store.read`."""

    session: str
    after: Position | None
    limit: int


async def read_all(
    connection: Connection, asked: Sequence[Read], *, schema: str
) -> list[list[Record] | AgentwsError]:
    """What :meth:`agentws.store.Store.read` returns or raises for each of them."""
    seqs = [0 if one.after is None else one.after.seq for one in asked]
    # The event at the position comes first: it must be there, with the same tag.
    limits = [max(0, one.limit) + (seq > 0) for one, seq in zip(asked, seqs, strict=True)]
    rows = await rows_of(
        connection,
        f"""
        SELECT asked.number, s.epoch, s.seq, e.seq, e.tag, e.data
        FROM unnest(%s::text[], %s::bigint[], %s::bigint[])
            WITH ORDINALITY AS asked (id, first, most, number)
        JOIN {schema}.session s ON s.id = asked.id
        LEFT JOIN LATERAL (
            SELECT seq, tag, data FROM {schema}.event
            WHERE log = s.log AND seq >= asked.first ORDER BY seq LIMIT asked.most
        ) e ON true
        ORDER BY asked.number, e.seq
        """,
        [one.session for one in asked],
        seqs,
        limits,
    )
    pages = {number: list(page) for number, page in groupby(rows, key=itemgetter(0))}
    return [_found(one, pages.get(number, [])) for number, one in enumerate(asked, 1)]


def _found(asked: Read, rows: Sequence[tuple[Any, ...]]) -> list[Record] | AgentwsError:
    """The records of a read, or why there are none; each row has the end of the log, too."""
    if not rows:
        return not_found()
    _, epoch, end, *_ = rows[0]
    records = [Record(seq, tag, data) for *_, seq, tag, data in rows if seq is not None]
    after = asked.after
    if after is None:
        return records
    if after.epoch != epoch:
        return PositionLost("epoch")
    if after.seq > end:
        return PositionLost("future")
    if after.seq == 0:
        return records
    if not records or records[0].seq != after.seq:
        return PositionLost("compacted")
    if records[0].tag != after.tag:
        return PositionLost("diverged")
    return records[1:]


async def read_back(
    connection: Connection, schema: str, session: str, before: int, limit: int
) -> list[Record]:
    rows = await rows_of(
        connection,
        f"""
        SELECT e.seq, e.tag, e.data FROM {schema}.session s
        LEFT JOIN LATERAL (
            SELECT seq, tag, data FROM {schema}.event
            WHERE log = s.log AND seq < %s ORDER BY seq DESC LIMIT %s
        ) e ON true
        WHERE s.id = %s ORDER BY e.seq
        """,
        min(before, _LARGEST),
        max(0, limit),
        session,
    )
    if not rows:
        raise not_found()
    return [Record(seq, tag, data) for seq, tag, data in rows if seq is not None]


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

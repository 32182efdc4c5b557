"""The operations on the log tables, as plain functions over a connection.

Statements are few, and each returns one row: every step of a statement releases the interpreter
lock, and getting it back can take milliseconds while the event loop is busy.
A function refuses (NotFound, Fenced, ...) before its first write. A statement that fails rolls back
the whole transaction (OR ROLLBACK): to undo itself alone, it would copy each page that it changes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from typing import Any, Final, NamedTuple

import msgspec

from ...errors import (
    AgentwsError,
    Fenced,
    IdempotencyConflict,
    NotFound,
    PositionLost,
    VersionConflict,
)
from ...protocol.codec import Record, event_type, extend
from ...protocol.gateway_events import CLEARED
from ...protocol.position import Position
from ...store import Appended, Head, Key, Settled
from . import passages

_WIDEST: Final = 128
"""Rows in one INSERT at most."""
_STEP: Final = 16
"""One INSERT has fewer rows or a multiple of it: so few statements are compiled."""

_SELECT_LOGS: Final = """
    SELECT json_group_array(json_array(id, log, epoch, seq, tag, settled, fence, version))
    FROM session WHERE id IN (SELECT value FROM json_each(?))
"""
_SELECT_LOGS_AND_KEYS: Final = f"""
    SELECT ({_SELECT_LOGS}), (
        SELECT json_group_array(json_array(key.log, key.id, digest, key.seq, key.tag))
        FROM json_each(?) AS asked
        CROSS JOIN session ON session.id = json_extract(asked.value, '$[0]')
        CROSS JOIN key ON key.log = session.log AND key.id = json_extract(asked.value, '$[1]')
    )
"""
_INSERT_KEYS: Final = """
    INSERT OR ROLLBACK INTO key (log, id, digest, seq, tag)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
           json_extract(value, '$[3]'), json_extract(value, '$[4]')
    FROM json_each(?)
"""
_KEEP_CARRIED: Final = "INSERT OR REPLACE INTO carried (log, data) VALUES (?, ?)"
_UPDATE_LOGS: Final = """
    UPDATE OR ROLLBACK session SET
        seq = moved.seq, tag = moved.tag, version = moved.version, {settled}
        updated = CASE WHEN moved.grown THEN ? ELSE session.updated END
    FROM (
        SELECT json_extract(value, '$[0]') AS log, json_extract(value, '$[1]') AS seq,
               json_extract(value, '$[2]') AS tag, json_extract(value, '$[3]') AS settled,
               json_extract(value, '$[4]') AS grown, json_extract(value, '$[5]') AS version
        FROM json_each(?)
    ) AS moved
    WHERE session.log = moved.log
"""
# A column that is set costs a look at every index that has it.
_MOVE_LOGS: Final = _UPDATE_LOGS.format(settled="")
_SETTLE_LOGS: Final = _UPDATE_LOGS.format(settled="settled = moved.settled,")
# SQLite joins the events of a page to one row; they are split by their lengths in bytes.
_PAGE: Final = """
    SELECT json_group_array(json_array(seq, tag, length(data))),
           CAST(group_concat(CAST(data AS TEXT), '') AS BLOB)
    FROM (SELECT seq, tag, data FROM event WHERE log = ? AND seq BETWEEN ? AND ?
          ORDER BY seq {order} LIMIT ?)
"""
_FORWARD: Final = _PAGE.format(order="ASC")
_BACKWARD: Final = _PAGE.format(order="DESC")
_NO_END: Final = (1 << 63) - 1


class Append(NamedTuple):
    """One caller's append."""

    session: str
    events: Sequence[bytes]
    key: Key | None
    fence: str | None
    settled: Settled | None
    expect: int | None
    commutes: bool


class _Known(NamedTuple):
    """The append that was made under an idempotency key."""

    log: int
    id: str
    digest: str
    seq: int
    tag: str


class _Log(msgspec.Struct, array_like=True):
    """A log's head while a group is planned."""

    id: str
    log: int
    epoch: str
    seq: int
    tag: str
    settled: int
    fence: int
    version: int
    """The seq of the last event that was appended without ``commutes``."""
    grown: bool = False
    changed: bool = False


_logs: Final = msgspec.json.Decoder(list[_Log])
_known: Final = msgspec.json.Decoder(list[_Known])
_lengths: Final = msgspec.json.Decoder(list[tuple[int, str, int]])
_strings: Final = msgspec.json.Decoder(list[str])


def as_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def decode_strings(text: str) -> list[str]:
    return _strings.decode(text)


# Appending


def append_all(
    connection: sqlite3.Connection, appends: Sequence[Append], *, now: float
) -> list[Appended | AgentwsError]:
    """Makes all appends of a group, in order; a refused one does not affect the others."""
    group = _Group(connection, appends)
    outcomes = [group.plan(append) for append in appends]
    group.write(connection, now)
    return outcomes


class _Group:
    """Checks the appends of one transaction against the tables, then writes all of them."""

    def __init__(self, connection: sqlite3.Connection, appends: Sequence[Append]) -> None:
        logs, keys = _select(connection, appends)
        self._logs = {row.id: row for row in _logs.decode(logs)}
        self._keys = {(known.log, known.id): known for known in _known.decode(keys)}
        self._new_keys: list[_Known] = []
        self._carried: dict[int, bytes] = {}
        self._cleared: dict[int, int] = {}
        self._events: list[tuple[int, str, bytes] | int | str | bytes] = []

    def plan(self, append: Append) -> Appended | AgentwsError:
        """Checks an append: session, fencing token, idempotency key, expected version."""
        session, events, key, fence, settled, expect, commutes = append
        log = self._logs.get(session)
        if log is None:
            return NotFound("There is no such session.")
        if fence is not None and fence != f"{log.epoch}:{log.fence}":
            return Fenced()
        if key is not None and (known := self._keys.get((log.log, key.id))) is not None:
            return _repeated(key, known.digest, Position(log.epoch, known.seq, known.tag))
        if expect is not None and not log.version <= expect <= log.seq:
            return VersionConflict()
        records = self._extend(log, events)
        if records and not commutes:
            log.version = log.seq
            if any(event_type(record.data) == CLEARED for record in records):
                self._cleared[log.log] = log.seq
        if key is not None:
            made = _Known(log.log, key.id, key.digest, log.seq, log.tag)
            self._keys[log.log, key.id] = made
            self._new_keys.append(made)
        if settled is not None and settled.seq >= log.settled:
            log.settled = settled.seq
            log.changed = True
            self._carried[log.log] = settled.carried
        return Appended(records, Position(log.epoch, log.seq, log.tag))

    def _extend(self, log: _Log, events: Sequence[bytes]) -> list[Record]:
        records = extend(Position(log.epoch, log.seq, log.tag), events)
        if records:
            log.seq, log.tag = records[-1].seq, records[-1].tag
            log.grown = log.changed = True
            for record in records:
                self._events += (log.log, record.seq, record.tag, record.data)
        return records

    def write(self, connection: sqlite3.Connection, now: float) -> None:
        _insert_rows(connection, self._events)
        moved = [
            (log.log, log.seq, log.tag, log.settled, log.grown, log.version)
            for log in self._logs.values()
            if log.changed
        ]
        if moved:
            update = _SETTLE_LOGS if self._carried else _MOVE_LOGS
            connection.execute(update, (now, as_json(moved)))
        if self._new_keys:
            connection.execute(_INSERT_KEYS, (as_json(self._new_keys),))
        if self._carried:
            connection.executemany(_KEEP_CARRIED, self._carried.items())
        if self._cleared:
            passages.clear(connection, self._cleared.items())


def _select(connection: sqlite3.Connection, appends: Sequence[Append]) -> tuple[str, str]:
    """The sessions of the appends, and those of their keys that were used before, as JSON."""
    ids = as_json(list({append.session for append in appends}))
    keys = [(append.session, append.key.id) for append in appends if append.key is not None]
    if keys:
        found: tuple[str, str] = connection.execute(
            _SELECT_LOGS_AND_KEYS, (ids, as_json(keys))
        ).fetchone()
        return found
    return connection.execute(_SELECT_LOGS, (ids,)).fetchone()[0], "[]"


def _repeated(key: Key, digest: str, position: Position) -> Appended | AgentwsError:
    if digest != key.digest:
        return IdempotencyConflict()
    return Appended((), position, duplicate=True)


def insert_records(connection: sqlite3.Connection, log: int, records: Iterable[Record]) -> None:
    rows = [(log, record.seq, record.tag, record.data) for record in records]
    _insert_rows(connection, list(chain.from_iterable(rows)))


def _insert_rows(connection: sqlite3.Connection, values: Sequence[Any]) -> None:
    """``values`` are rows of (log, seq, tag, data), one after the other."""
    start = 0
    while start < len(values):
        width = _width((len(values) - start) // 4)
        places = ", ".join(["(?, ?, ?, ?)"] * width)
        connection.execute(
            f"INSERT OR ROLLBACK INTO event (log, seq, tag, data) VALUES {places}",
            values[start : start + 4 * width],
        )
        start += 4 * width


def _width(rows: int) -> int:
    """How many of ``rows`` the next INSERT has."""
    return rows if rows < _STEP else min(rows - rows % _STEP, _WIDEST)


# Reading


class _LogRow(NamedTuple):
    """The end of a log, from its session's row."""

    log: int
    epoch: str
    seq: int
    tag: str


def _log_row(connection: sqlite3.Connection, session: str) -> _LogRow:
    row = connection.execute(
        "SELECT log, epoch, seq, tag FROM session WHERE id = ?", (session,)
    ).fetchone()
    if row is None:
        raise NotFound("There is no such session.")
    return _LogRow(*row)


def find(connection: sqlite3.Connection, session: str, key: Key) -> Appended | None:
    log = _log_row(connection, session)
    row = connection.execute(
        "SELECT digest, seq, tag FROM key WHERE log = ? AND id = ?", (log.log, key.id)
    ).fetchone()
    if row is None:
        return None
    digest, seq, tag = row
    done = _repeated(key, digest, Position(log.epoch, seq, tag))
    if isinstance(done, AgentwsError):
        raise done
    return done


def head(connection: sqlite3.Connection, session: str) -> Head:
    row = connection.execute(
        "SELECT epoch, seq, tag, settled, coalesce(data, x'') "
        "FROM session LEFT JOIN carried ON carried.log = session.log WHERE id = ?",
        (session,),
    ).fetchone()
    if row is None:
        raise NotFound("There is no such session.")
    epoch, seq, tag, settled, carried = row
    return Head(Position(epoch, seq, tag), Settled(settled, carried))


def heads(connection: sqlite3.Connection, sessions: Sequence[str]) -> list[int | None]:
    rows = connection.execute(
        "SELECT json_group_array(json_array(id, seq)) FROM session "
        "WHERE id IN (SELECT value FROM json_each(?))",
        (as_json(list(sessions)),),
    ).fetchone()[0]
    found: dict[str, int] = dict(msgspec.json.decode(rows))
    return [found.get(session) for session in sessions]


def read(
    connection: sqlite3.Connection, session: str, after: Position | None, limit: int
) -> list[Record]:
    log = _log_row(connection, session)
    if after is None:
        return _page(connection, _FORWARD, log.log, 0, _NO_END, limit=limit)
    _refuse_outside(log, after)
    if after.seq == 0:
        return _page(connection, _FORWARD, log.log, 0, _NO_END, limit=limit)
    # One more event: the first one must be the event at the position, with the same tag.
    records = _page(connection, _FORWARD, log.log, after.seq, _NO_END, limit=limit + 1)
    if not records or records[0].seq != after.seq:
        raise PositionLost("compacted")
    if records[0].tag != after.tag:
        raise PositionLost("diverged")
    return records[1:]


def _refuse_outside(log: _LogRow, after: Position) -> None:
    if after.epoch != log.epoch:
        raise PositionLost("epoch")
    if after.seq > log.seq:
        raise PositionLost("future")


def read_back(
    connection: sqlite3.Connection, session: str, before: int, limit: int
) -> list[Record]:
    log = _log_row(connection, session)
    last = max(0, min(before, log.seq + 1) - 1)
    return _page(connection, _BACKWARD, log.log, 0, last, limit=limit)[::-1]


def records_between(
    connection: sqlite3.Connection, log: int, first: int, last: int, *, limit: int
) -> list[Record]:
    """The first ``limit`` records of a log with seqs from ``first`` to ``last``."""
    return _page(connection, _FORWARD, log, first, last, limit=limit)


def _page(
    connection: sqlite3.Connection, query: str, log: int, first: int, last: int, *, limit: int
) -> list[Record]:
    lengths, data = connection.execute(query, (log, first, last, max(0, limit))).fetchone()
    rows = _lengths.decode(lengths)
    ends = accumulate(length for _, _, length in rows)
    return [
        Record(seq, tag, data[end - length : end])
        for (seq, tag, length), end in zip(rows, ends, strict=True)
    ]


# Compaction


def compact(
    connection: sqlite3.Connection,
    session: str,
    first: int,
    last: int,
    records: Sequence[Record],
) -> None:
    log = _log_row(connection, session)
    connection.execute(
        "DELETE FROM event WHERE log = ? AND seq BETWEEN ? AND ?", (log.log, first, last)
    )
    insert_records(connection, log.log, records)

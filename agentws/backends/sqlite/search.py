"""The search over sessions: an FTS5 index, which is filled up to each log's checkpoint.

An append does not write to the index: what is settled is read, folded and indexed afterwards, a few
logs at a time. ``session.indexed`` is the seq up to which that was done; it is -1 for a session
that is older than the index. So the index of an old file is filled in the same way.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ...protocol.codec import Record, event_type
from ...protocol.search import Found, Words, searchable, terms_of
from ...store import SessionInfo
from . import passages
from .log import records_between
from .sessions import select_infos

logger: Final = logging.getLogger("agentws")

LOGS: Final = 8
"""Logs of one batch, so that other reads do not wait for long."""
_PAGE: Final = 200
"""Events of one read. A batch has more of a log only if a run has more."""
_ENDS: Final = frozenset({"RUN_FINISHED", "RUN_ERROR"})
_DUE: Final = """
    SELECT id, log, owner, indexed, settled FROM session
    WHERE indexed < settled AND owner IS NOT NULL ORDER BY log LIMIT ?
"""
_MATCH: Final = """
    AND log IN (SELECT log FROM passage
                WHERE id IN (SELECT rowid FROM search WHERE search MATCH ?))
"""


class _Due(NamedTuple):
    id: str
    log: int
    owner: str
    indexed: int
    settled: int


class Batch(NamedTuple):
    """What is to be indexed of one log next, up to the seq ``through``."""

    due: _Due
    through: int
    found: Found


def due(connection: sqlite3.Connection) -> list[Batch]:
    """The next batches; none if everything is indexed."""
    rows = connection.execute(_DUE, (LOGS,)).fetchall()
    return [_next_batch(connection, _Due(*row)) for row in rows]


def _next_batch(connection: sqlite3.Connection, due: _Due) -> Batch:
    records, ended = _read_runs(connection, due)
    through = due.settled if ended else records[-1].seq
    try:
        return Batch(due, through, searchable(records))
    except Exception:
        # A retry would fail again and block the index of all other logs.
        logger.exception("session %s could not be indexed", due.id)
        return Batch(due, through, Found([], replaces=False))


def _read_runs(connection: sqlite3.Connection, due: _Due) -> tuple[list[Record], bool]:
    """The next whole runs that are not indexed, and whether these are all that are settled."""
    records: list[Record] = []
    after, whole, running = max(0, due.indexed), 0, False
    while not whole:
        page = records_between(connection, due.log, after + 1, due.settled, limit=_PAGE)
        for record in page:
            records.append(record)
            kind = event_type(record.data)
            running = kind == "RUN_STARTED" or (running and kind not in _ENDS)
            whole = whole if running else len(records)
        if len(page) < _PAGE:
            return records, True
        after = page[-1].seq
    return records[:whole], False


def index(connection: sqlite3.Connection, batches: Sequence[Batch]) -> None:
    """Writes the batches to the index; not one whose log was changed or indexed meanwhile."""
    for (id, log, owner, indexed, _), through, found in batches:
        moved = connection.execute(
            "UPDATE session SET indexed = ? WHERE log = ? AND id = ? AND indexed = ?",
            (through, log, id, indexed),
        )
        if not moved.rowcount:
            continue
        if found.replaces:
            passages.remove_messages(connection, log)
        if indexed < 0:
            passages.index_title(connection, id)
        passages.insert(connection, log, through, owner, found.messages)


def search(
    connection: sqlite3.Connection,
    owner: str,
    query: str,
    before: tuple[float, str] | None,
    limit: int,
) -> list[SessionInfo]:
    terms = terms_of(query)
    if not terms:
        return []
    matches: list[Any] = [_match(owner, term) for term in terms]
    return select_infos(connection, owner, before, limit, also=_MATCH * len(terms), given=matches)


def _match(owner: str, term: Words) -> str:
    """An FTS5 query. Words have letters and digits only, so nothing in it needs quoting."""
    return f'"{passages.owner_word(owner)}" AND "{" ".join(term)}" *'

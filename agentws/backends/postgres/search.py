"""The search over sessions in PostgreSQL: an index of lexemes finds candidates, which are checked.

A passage has the words of a title (at seq 0) or of a message, each with a space before it, so a
term of a query matches where ``" one tw"`` is in them. The index can't answer that: it forgets the
places of a word that a message has often. It is filled up to each log's checkpoint afterwards, a
few logs at a time, as ``session.indexed`` says; an append does not write to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ...protocol.codec import Record, event_type
from ...protocol.search import Found, Words, searchable, words_of
from .log import rows_of
from .pool import Connection

logger: Final = logging.getLogger("agentws")

LOGS: Final = 8
"""Logs of one batch."""
_PAGE: Final = 200
"""Events of one read. A batch has more of a log only if a run has more."""
_LONGEST_LEXEME: Final = 64
"""Characters of a word that are indexed; PostgreSQL takes at most 2 kB of one."""
_MOST_LEXEMES: Final = 10_000
"""Different words of a passage that are indexed; PostgreSQL takes at most 1 MB of all."""
_MORE: Final = "="
"""Marks a passage that has more words than are indexed: it is always a candidate."""
_ENDS: Final = frozenset({"RUN_FINISHED", "RUN_ERROR"})

MATCH: Final = """
    AND log IN (SELECT log FROM {schema}.passage
                WHERE lexemes @@ %s::tsquery AND strpos(words, %s) > 0)
"""
"""The condition for one term, with the values that :func:`match` returns."""

_encode: Final = msgspec.json.Encoder().encode


def passage_of(title: str | None) -> tuple[str | None, list[str]]:
    """The words and the lexemes of a title, as the functions of the schema take them."""
    words = [] if title is None else words_of(title)
    return (_joined(words), _lexemes(words)) if words else (None, [])


def _joined(words: Words) -> str:
    return "".join(f" {word}" for word in words)


def _lexemes(words: Words) -> list[str]:
    different = {word[:_LONGEST_LEXEME] for word in words}
    if len(different) <= _MOST_LEXEMES:
        return list(different)
    return [_MORE, *sorted(different)[:_MOST_LEXEMES]]


def match(term: Words) -> tuple[str, str]:
    """A query of the index, and the text that a passage must have.

    Words have letters and digits only, so nothing in them needs quoting.
    """
    *whole, start = (f"'{word[:_LONGEST_LEXEME]}'" for word in term)
    every = " & ".join([*whole, f"{start}:*"])
    return f"{every} | '{_MORE}'", _joined(term)


# Filling the index


class _Due(NamedTuple):
    id: str
    log: int
    indexed: int
    settled: int


class _Batch(NamedTuple):
    """What is to be indexed of one log next, up to the seq ``through``."""

    due: _Due
    through: int
    records: list[Record]


async def due(connection: Connection, schema: str) -> list[_Batch]:
    """The next batches; none if everything is indexed."""
    rows = await rows_of(
        connection,
        f"SELECT id, log, indexed, settled FROM {schema}.session "
        "WHERE indexed < settled AND owner IS NOT NULL ORDER BY log LIMIT %s",
        LOGS,
    )
    return [await _next_batch(connection, schema, _Due(*row)) for row in rows]


async def _next_batch(connection: Connection, schema: str, due: _Due) -> _Batch:
    """The next whole runs that are not indexed; all that is settled if no run is left open."""
    records: list[Record] = []
    after, whole, running = due.indexed, 0, False
    while not whole:
        page = await rows_of(
            connection,
            f"SELECT seq, tag, data FROM {schema}.event "
            "WHERE log = %s AND seq > %s AND seq <= %s ORDER BY seq LIMIT %s",
            due.log,
            after,
            due.settled,
            _PAGE,
        )
        for row in page:
            records.append(Record(*row))
            kind = event_type(records[-1].data)
            running = kind == "RUN_STARTED" or (running and kind not in _ENDS)
            whole = whole if running else len(records)
        if len(page) < _PAGE:
            return _Batch(due, due.settled, records)
        after = records[-1].seq
    return _Batch(due, records[whole - 1].seq, records[:whole])


async def index(connection: Connection, schema: str, batches: Sequence[_Batch]) -> None:
    """Writes the batches to the index; not one whose log was changed or indexed meanwhile."""
    items = await asyncio.to_thread(lambda: [_item(batch) for batch in batches])
    query = f"SELECT {schema}.index_messages(%s::jsonb)"
    await connection.execute(query, (_encode(items).decode(),))


def _item(batch: _Batch) -> dict[str, Any]:
    found = _found(batch)
    return {
        "id": batch.due.id,
        "log": batch.due.log,
        "indexed": batch.due.indexed,
        "through": batch.through,
        "replaces": found.replaces,
        "passages": [
            {"words": _joined(words), "lexemes": _lexemes(words)} for words in found.messages
        ],
    }


def _found(batch: _Batch) -> Found:
    try:
        return searchable(batch.records)
    except Exception:
        # A retry would fail again and block the index of all other logs.
        logger.exception("session %s could not be indexed", batch.due.id)
        return Found([], replaces=False)

"""A session's log, read as a conversation: snapshots, pages, history, compaction.

Everything here reads backwards from where it is asked, or folds what it is given: what it costs
follows from what it returns, not from how long the log is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ..errors import PositionLost
from ..protocol import events as e
from ..protocol.codec import Record, event_type
from ..protocol.fold import Fold
from ..protocol.merge import merge
from ..protocol.messages import Interrupt, Message
from ..protocol.position import GENESIS, Position
from ..store import PAGE, Store
from .pages import ENDS
from .pages import Page as Page
from .pages import page_before as page_before

_FIRST: Final = 32
"""Events read at first, while nothing is known of their size."""
_AT_ONCE: Final = 256 * 1024
"""Bytes read at a time, about."""


class Snapshot(NamedTuple):
    """A session as of ``position``, where no run was active."""

    position: Position
    page: Page
    """Its newest messages."""
    state: Any
    """The shared state, if there is any."""
    queued: Sequence[e.MessageAccepted]
    interrupts: Sequence[Interrupt]
    """Questions that wait for an answer."""
    title: str | None


async def whole(store: Store, session: str, epoch: str, *, through: int) -> list[Message]:
    """The conversation from its beginning up to that seq."""
    while True:
        try:
            return await _read_whole(store, session, epoch, through)
        except PositionLost as lost:
            if lost.reason != "compacted":
                raise
            # The event that was read last has been folded away meanwhile: from the beginning.


async def _read_whole(store: Store, session: str, epoch: str, through: int) -> list[Message]:
    fold = Fold()
    position = Position(epoch, 0, GENESIS)
    while position.seq < through:
        records = await store.read(session, after=position if position.seq else None)
        fold.apply_all(record for record in records if record.seq <= through)
        if len(records) < PAGE:
            break
        position = Position(epoch, records[-1].seq, records[-1].tag)
    return fold.messages


async def run_begun(store: Store, session: str, through: int) -> Record | None:
    """The first event of the run that the event at ``through`` is in the middle of, if of one."""
    before, limit = through + 1, _FIRST
    while True:
        page = await store.read_back(session, before=before, limit=limit)
        for record in reversed(page):
            kind = event_type(record.data)
            if kind in ENDS:
                return None
            if kind == "RUN_STARTED":
                return record
        if len(page) < limit:
            return None
        before = page[0].seq
        size = sum(len(record.data) for record in page) // len(page)
        limit = min(PAGE, max(_FIRST // 4, _AT_ONCE // size))


async def compact_run(store: Store, session: str, *, first: int, last: int) -> None:
    """Folds the adjacent deltas of a finished run, whose events are ``first`` to ``last``.

    A delta never moves past an event that stays: a client may stand there, and has seen it.
    """
    records: list[Record] = []
    before = last + 1
    while before > first:
        page = await store.read_back(session, before=before)
        records[:0] = [record for record in page if record.seq >= first]
        if len(page) < PAGE:
            break
        before = page[0].seq
    kept = merge(records)
    if len(kept) < len(records):
        await store.compact(session, first=first, last=last, records=kept)


async def position_at(store: Store, session: str, head: Position, seq: int) -> Position:
    """The position of the event at ``seq``, or of the nearest before it that is still there."""
    found = await store.read_back(session, before=seq + 1, limit=1) if seq else ()
    if not found:
        return Position(head.epoch, 0, GENESIS)
    return Position(head.epoch, found[-1].seq, found[-1].tag)

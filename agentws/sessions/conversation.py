"""A session's log, read as a conversation: the whole history, and where its runs begin.

Pages of it are in :mod:`agentws.sessions.pages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ..errors import PositionLost
from ..protocol import events as e
from ..protocol.codec import Record, event_type
from ..protocol.fold import Fold
from ..protocol.gateway_events import BRANCHED
from ..protocol.messages import Interrupt, Message
from ..protocol.position import GENESIS, Position
from ..store import PAGE, Store
from .pages import ENDS, Page
from .view import WHOLE, View, in_view

_FIRST: Final = 32
"""Events in the first read, while their size is unknown."""
_AT_ONCE: Final = 256 * 1024
"""About the bytes of one read."""


class Snapshot(NamedTuple):
    """A session as of ``position``, where no run was active."""

    position: Position
    page: Page
    """Its newest messages."""
    state: Any
    """The shared state; ``None`` if there is none."""
    queued: Sequence[e.MessageAccepted]
    interrupts: Sequence[Interrupt]
    """Questions that are not answered yet."""
    title: str | None


async def whole_conversation(
    store: Store, session: str, epoch: str, *, through: int, view: View = WHOLE
) -> list[Message]:
    """The conversation in view, from its beginning up to the seq ``through``."""
    while True:
        try:
            return await _read_whole(store, session, epoch, through, view)
        except PositionLost as lost:
            if lost.reason != "compacted":
                raise
            # Compaction has removed the event that was read last: start again.


async def _read_whole(
    store: Store, session: str, epoch: str, through: int, view: View
) -> list[Message]:
    fold = Fold()
    position = Position(epoch, 0, GENESIS)
    while position.seq < through:
        records = await store.read(session, after=position if position.seq else None)
        fold.apply_all(
            record
            for record in in_view(records, view)
            if record.seq <= through and event_type(record.data) != BRANCHED
        )
        if len(records) < PAGE:
            break
        position = Position(epoch, records[-1].seq, records[-1].tag)
    return fold.messages


async def active_run_start(store: Store, session: str, through: int) -> Record | None:
    """The first event of the run that is open at the seq ``through``; ``None`` if none is."""
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


async def position_at(store: Store, session: str, head: Position, seq: int) -> Position:
    """The position of the event at ``seq``, or of the nearest one before it that is still there."""
    found = await store.read_back(session, before=seq + 1, limit=1) if seq else ()
    if not found:
        return Position(head.epoch, 0, GENESIS)
    return Position(head.epoch, found[-1].seq, found[-1].tag)

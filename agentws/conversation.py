"""A session's log, read as a conversation: snapshots, pages, history, compaction.

Everything here reads backwards from where it is asked, or folds what it is given: what it costs
follows from what it returns, not from how long the log is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from .errors import PositionLost
from .protocol import events as e
from .protocol.codec import Record, decode_record, event_type
from .protocol.fold import Fold
from .protocol.merge import merge
from .protocol.messages import Interrupt, InterruptOutcome, Message, RunAgentInput
from .protocol.notices import Posted
from .protocol.position import GENESIS, Position
from .store import PAGE, Store

_STARTS: Final = frozenset(
    {"RUN_STARTED", "TEXT_MESSAGE_START", "TOOL_CALL_RESULT", "REASONING_MESSAGE_START"}
)
"""Events that begin a message of the conversation; ``RUN_STARTED`` brings the user's."""
_ENDS: Final = frozenset({"RUN_FINISHED", "RUN_ERROR"})
_QUESTIONS: Final = frozenset({"RUN_STARTED", "RUN_FINISHED"})
"""Events that ask questions, or take up their answers."""
_CLEARED: Final = "history.cleared"
"""Nothing before it is part of the conversation."""
_NOTICE: Final = "notice.posted"
_NOTICES: Final = 100
"""The most of them that are shown at once, the newest: nothing else bounds how many there are."""
_FARTHEST: Final = 4
"""How many times the messages that were asked for a page may hold to reach a run that asked."""
_PER_MESSAGE: Final = 4
"""Events that one message mostly has once its run is compacted: how far back to read at a time."""


class Page(NamedTuple):
    """A part of the conversation that begins and ends where no run is active."""

    messages: list[Message]
    before: int | None
    """Older messages end before this seq; ``None`` when there are none."""
    notices: Sequence[Posted] = ()
    """The durable notices among them, in order."""


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


async def page_before(
    store: Store, session: str, before: int, *, messages: int, cleared: int = 0
) -> Page:
    """The ``messages`` that end before that seq, or a few more: runs are kept whole.

    A run that goes on with an answer stays with the run that asked, whose calls it may finish,
    unless that one is far away.
    ``cleared``: the seq of the newest ``history.cleared`` that is known. Nothing at or before it
    is shown, whatever ``before`` says.
    """
    size = min(PAGE, max(32, _PER_MESSAGE * messages))
    newest_first: list[Record] = []
    questions: set[str] = set()
    seen, cut = 0, before
    while cut > cleared + 1:
        page = await store.read_back(session, before=cut, limit=size)
        for record in reversed(page):
            kind = event_type(record.data)
            if kind == _CLEARED or record.seq <= cleared:
                return _fold(newest_first, None)
            newest_first.append(record)
            seen += kind in _STARTS
            if kind in _QUESTIONS:
                _find_asker(questions, record)
            enough = messages * (_FARTHEST if questions else 1)
            if seen < enough or kind != "RUN_STARTED":
                continue
            if await _begins_before(store, session, record.seq, cleared):
                return _fold(newest_first, record.seq)
            # What is older still was posted before anything was said: it belongs to this page.
        if len(page) < size:
            break
        cut = page[0].seq
    return _fold(newest_first, None)


def _find_asker(questions: set[str], newest: Record) -> None:
    """Keeps ``questions``, those whose runs are older than ``newest``, on the way back."""
    match decode_record(newest.data).event:
        case e.RunStarted(input=RunAgentInput(resume=list(answers))):
            questions.update(answer.interrupt_id for answer in answers)
        case e.RunFinished(outcome=InterruptOutcome(interrupts=asked)):
            questions.difference_update(question.id for question in asked)


async def _begins_before(store: Store, session: str, seq: int, cleared: int) -> bool:
    """Whether any message of the conversation is older than ``seq``, and not cleared."""
    page = await store.read_back(session, before=seq, limit=32)
    for record in reversed(page):
        kind = event_type(record.data)
        if kind == _CLEARED or record.seq <= cleared:
            return False
        if kind in _STARTS:
            return True
    return len(page) == 32


def _fold(newest_first: list[Record], before: int | None) -> Page:
    fold = Fold()
    notices: deque[Posted] = deque(maxlen=_NOTICES)
    for record in reversed(newest_first):
        event = decode_record(record.data).event if event_type(record.data) == _NOTICE else None
        if isinstance(event, e.NoticePosted):
            notices.append(Posted(record.seq, record.tag, event, fold.last))
        else:
            fold.apply_all((record,))
    messages = fold.messages
    shown = {message.id for message in messages}
    placed = [one if one.after in shown else one._replace(after=None) for one in notices]
    return Page(messages, before, placed)


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


async def run_so_far(store: Store, session: str, through: int) -> Sequence[Record]:
    """The events from the start of the run that the event at ``through`` is in the middle of.

    Up to and including that event; empty when it is in the middle of none.
    """
    newest_first: list[Record] = []
    before = through + 1
    while True:
        page = await store.read_back(session, before=before)
        for record in reversed(page):
            kind = event_type(record.data)
            if kind in _ENDS:
                return ()
            newest_first.append(record)
            if kind == "RUN_STARTED":
                return newest_first[::-1]
        if len(page) < PAGE:
            return ()
        before = page[0].seq


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

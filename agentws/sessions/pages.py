"""A conversation page by page, the newest first.

Reads backwards from where it is asked: what a page costs follows from what it holds, not from how
long the log is. A page holds whole runs. One that is bounded in bytes holds fewer where they are
large; a run that is larger than a page comes in parts, see :mod:`agentws.large_runs`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from ..protocol import events as e
from ..protocol.codec import Record, decode_record, event_type
from ..protocol.fold import Fold
from ..protocol.merge import split_delta
from ..protocol.messages import InterruptOutcome, Message, RunAgentInput
from ..protocol.notices import Posted
from ..store import PAGE, Store

_STARTS: Final = frozenset(
    {"RUN_STARTED", "TEXT_MESSAGE_START", "TOOL_CALL_RESULT", "REASONING_MESSAGE_START"}
)
"""Events that begin a message of the conversation; ``RUN_STARTED`` brings the user's."""
ENDS: Final = frozenset({"RUN_FINISHED", "RUN_ERROR"})
_QUESTIONS: Final = frozenset({"RUN_STARTED", "RUN_FINISHED"})
"""Events that ask questions, or take up their answers."""
CLEARED: Final = "history.cleared"
"""Nothing before it is part of the conversation."""
NOTICE: Final = "notice.posted"
_NOTICES: Final = 100
"""The most of them that are shown at once, the newest: nothing else bounds how many there are."""
_FARTHEST: Final = 4
"""How many times the messages that were asked for a page may hold to reach a run that asked."""
_AT_ONCE: Final = 256 * 1024
"""Bytes read at a time, about, where events may be large: many may open a session at once."""
_FEWEST: Final = 8
"""Events read at a time at least."""
_PER_MESSAGE: Final = 4
"""Events that one message mostly has once its run is compacted: how far back to read at a time."""
_UNSAID: Final = frozenset(
    {
        "CUSTOM",
        "RAW",
        "RUN_FINISHED",
        "STATE_DELTA",
        "STATE_SNAPSHOT",
        "STEP_FINISHED",
        "STEP_STARTED",
        "interrupt.answered",
        "message.accepted",
        "session.updated",
    }
)
"""Events that may be large and add nothing to messages."""


class Page(NamedTuple):
    """A part of the conversation that begins and ends where no run is active."""

    messages: list[Message]
    before: int | None
    """What asks for older messages; ``None`` when there are none."""
    notices: Sequence[Posted] = ()
    """The durable notices among them, in order."""


async def page_before(
    store: Store, session: str, before: int, *, messages: int, cleared: int = 0
) -> Page:
    """The ``messages`` that end before that seq, or a few more: runs are kept whole.

    A run that goes on with an answer stays with the run that asked, whose calls it may finish,
    unless that one is far away.
    ``cleared``: the seq of the newest ``history.cleared`` that is known. Nothing at or before it
    is shown, whatever ``before`` says.
    """
    walk = Walk(messages=messages, cleared=cleared)
    page = await walk.page(store, session, before)
    assert page is not None
    return page


class Walk:
    """The way back in a log from where a page ends, and what was found on it.

    With ``size`` the page has fewer messages where they have more than so many bytes together.
    ``event_size`` is what the events may have in bytes, mostly.
    """

    def __init__(
        self, *, messages: int, cleared: int, size: int | None = None, event_size: int = 1
    ) -> None:
        self._messages = messages
        self._event_size = event_size
        self._cleared = cleared
        self._size = size
        self._questions: set[str] = set()
        self._seen = 0
        self.weight = 0
        """About how many bytes what was found adds to messages and notices; with ``size`` only."""
        self._ended = False
        self._fitting: tuple[int, int] | None = None
        """How many records are whole runs that fit, and the seq at which the oldest begins."""
        self.newest_first: list[Record] = []
        self.inside = False
        """Whether the walk began in the middle of a run that it has not gone past yet."""

    async def page(self, store: Store, session: str, before: int) -> Page | None:
        """The page; ``None`` where only parts of the newest run can be said.

        That is also so where ``before`` is in the middle of a run: it names one of its parts.
        """
        async with aclosing(self._back(store, session, before)) as records:
            async for record in records:
                kind = event_type(record.data)
                if kind == CLEARED:
                    break
                self.take(record, kind)
                if self.cut:
                    return None
                if self._full:
                    count, seq = self._fitting or (0, 0)
                    return fold_page(self.newest_first[:count], seq)
                if kind != "RUN_STARTED" or not self._enough:
                    continue
                if await begins_before(store, session, record.seq, self._cleared):
                    return fold_page(self.newest_first, record.seq)
                # What is older still was posted before anything was said: it is of this page.
        return fold_page(self.newest_first, None)

    async def to_start(self, store: Store, session: str, before: int) -> int:
        """Goes back over the newest run; returns where that, or the conversation, begins."""
        async with aclosing(self._back(store, session, before)) as records:
            async for record in records:
                kind = event_type(record.data)
                if kind == CLEARED:
                    return record.seq + 1
                self.take(record, kind)
                if kind == "RUN_STARTED":
                    return record.seq
        return self._cleared + 1

    async def _back(self, store: Store, session: str, before: int) -> AsyncGenerator[Record]:
        """The conversation's records before that seq, the newest first, up to a clear of it."""
        most = min(PAGE, max(32, _PER_MESSAGE * self._messages))
        limit = min(most, max(_FEWEST, _AT_ONCE // self._event_size))
        while before > self._cleared + 1:
            page = await store.read_back(session, before=before, limit=limit)
            for record in reversed(page):
                if record.seq <= self._cleared:
                    return
                yield record
            if len(page) < limit:
                return
            before = page[0].seq
            size = sum(len(record.data) for record in page) // len(page)
            limit = min(most, max(_FEWEST, _AT_ONCE // size))

    def take(self, record: Record, kind: str) -> None:
        """Goes on with the next older one."""
        self.newest_first.append(record)
        self._seen += kind in _STARTS
        if kind in _QUESTIONS:
            _find_asker(self._questions, record)
        if self._size is None:
            return
        self.weight += _weight(record.data, kind)
        self._ended = self._ended or kind in ENDS
        said = kind.isupper() and record.data.startswith(b'{"run":')
        self.inside = self.inside or (said and not self._ended)
        if kind != "RUN_STARTED" or self.inside or self.weight > self._size:
            return
        # A run that goes on with answers is better not parted from the one that asked.
        if self._fitting is None or not self._questions:
            self._fitting = len(self.newest_first), record.seq

    @property
    def cut(self) -> bool:
        """Whether the newest run, or what is left of it, is only to be said in parts."""
        if self._size is None or self._fitting is not None:
            return False
        return self.inside or self.weight > self._size

    @property
    def _full(self) -> bool:
        """Whether there are whole runs, and no room for the next one."""
        return self._size is not None and self.weight > self._size and self._fitting is not None

    @property
    def _enough(self) -> bool:
        return self._seen >= self._messages * (_FARTHEST if self._questions else 1)


def _weight(data: bytes, kind: str) -> int:
    """About how many bytes an event adds to what is said of messages; seldom fewer than that."""
    if kind in _UNSAID:
        return 0
    head, text = split_delta(data)
    return len(data) if head is None or b'"metadata":' in head else len(text)


def _find_asker(questions: set[str], newest: Record) -> None:
    """Keeps ``questions``, those whose runs are older than ``newest``, on the way back."""
    match decode_record(newest.data).event:
        case e.RunStarted(input=RunAgentInput(resume=list(answers))):
            questions.update(answer.interrupt_id for answer in answers)
        case e.RunFinished(outcome=InterruptOutcome(interrupts=asked)):
            questions.difference_update(question.id for question in asked)


async def begins_before(store: Store, session: str, seq: int, cleared: int) -> bool:
    """Whether any message of the conversation is older than ``seq``, and not cleared."""
    for _ in range(_FEWEST):
        page = await store.read_back(session, before=seq, limit=_FEWEST)
        for record in reversed(page):
            kind = event_type(record.data)
            if kind == CLEARED or record.seq <= cleared:
                return False
            if kind in _STARTS:
                return True
        if len(page) < _FEWEST:
            return False
        seq = page[0].seq
    return True


def fold_page(newest_first: list[Record], before: int | None) -> Page:
    fold = Fold()
    notices: deque[Posted] = deque(maxlen=_NOTICES)
    for record in reversed(newest_first):
        event = decode_record(record.data).event if event_type(record.data) == NOTICE else None
        if isinstance(event, e.NoticePosted):
            notices.append(Posted(record.seq, record.tag, event, fold.last))
        else:
            fold.apply_all((record,))
    messages = fold.messages
    shown = {message.id for message in messages}
    placed = [one if one.after in shown else one._replace(after=None) for one in notices]
    return Page(messages, before, placed)

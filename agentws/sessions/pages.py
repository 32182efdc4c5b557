"""A conversation page by page, the newest first.

Reads backwards, so a page costs by what it holds, not by how long the log is. A page holds whole
runs. A page that is bounded in bytes holds fewer of them if they are large; a run that is larger
than a page comes in parts, see :mod:`agentws.sessions.large_runs`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from ..protocol import events as e
from ..protocol.answered import MOST, AnsweredQuestion, answered_by, newest_of
from ..protocol.codec import Record, decode_record, event_type
from ..protocol.fold import Fold
from ..protocol.gateway_events import BRANCHED, CLEARED
from ..protocol.merge import split_delta
from ..protocol.messages import InterruptOutcome, Message, RunAgentInput
from ..protocol.notices import Posted
from ..store import PAGE, Store
from .view import FEWEST, WHOLE, View, backwards

_STARTS: Final = frozenset(
    {
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TOOL_CALL_RESULT",
        "REASONING_MESSAGE_START",
        "message.steered",
    }
)
"""Events that begin a message of the conversation; ``RUN_STARTED`` contains the user's."""
ENDS: Final = frozenset({"RUN_FINISHED", "RUN_ERROR"})
_QUESTIONS: Final = frozenset({"RUN_STARTED", "RUN_FINISHED"})
"""Events that ask questions (interrupts), or resume with their answers."""
NOTICE: Final = "notice.posted"
_LOOKED_INTO: Final = frozenset({NOTICE, "RUN_STARTED", "interrupt.answered"})
"""Events that say more of a page than its messages."""
_NOTICES: Final = 100
"""The most notices on a page, the newest: nothing else bounds their number."""
_FARTHEST: Final = 4
"""A page may have this many times the wanted messages, so that the run that asked is on it, too."""
_PER_MESSAGE: Final = 4
"""Events of a typical message in a compacted run, from which the size of a read is estimated."""
_NOT_SHOWN: Final = frozenset(
    {
        "CUSTOM",
        "RAW",
        "RUN_FINISHED",
        "STATE_DELTA",
        "STATE_SNAPSHOT",
        "STEP_FINISHED",
        "STEP_STARTED",
        "interrupt.answered",
        "message.edited",
        "session.updated",
        "state.changed",
    }
)
"""Events that may be large and add nothing to the messages."""


class Page(NamedTuple):
    """A part of the conversation that begins and ends where no run is active."""

    messages: list[Message]
    before: int | None
    """The parameter that asks for the page before this one; ``None`` when this is the first."""
    notices: Sequence[Posted] = ()
    """The durable notices among the messages, in order."""
    times: Mapping[str, int] = {}
    """By the ids of user messages: when a run began to answer them, in ms since the epoch."""
    answered: Sequence[AnsweredQuestion] = ()
    """The questions that were asked and answered among the messages, in order; the newest."""


async def page_before(
    store: Store, session: str, before: int, *, messages: int, view: View = WHOLE
) -> Page:
    """The last ``messages`` before that seq, or a few more: runs are kept whole.

    A run that resumes with an answer stays on one page with the run that asked, whose tool calls it
    may finish, unless that one is far away.
    """
    scan = BackwardScan(messages=messages, view=view)
    page = await scan.page(store, session, before)
    assert page is not None
    return page


class BackwardScan:
    """Reads a log backwards from where a page ends, and collects the records of that page.

    With ``size`` the page has fewer messages if they have more than that many bytes together.
    ``event_size`` is the expected size of an event in bytes.
    """

    def __init__(
        self, *, messages: int, view: View, size: int | None = None, event_size: int = 1
    ) -> None:
        self._messages = messages
        self._event_size = event_size
        self._view = view
        self._size = size
        self._questions: set[str] = set()
        self._seen = 0
        self.weight = 0
        """About how many bytes the records add to the page; counted only with a ``size``."""
        self._ended = False
        self._fitting: tuple[int, int] | None = None
        """How many records are whole runs that fit on the page, and the seq where they begin."""
        self.newest_first: list[Record] = []
        self.inside_run = False
        """Whether the scan began in the middle of a run and has not reached its beginning."""

    async def page(self, store: Store, session: str, before: int) -> Page | None:
        """The page; ``None`` if the newest run has to be divided into parts.

        Also ``None`` if ``before`` is in the middle of a run: it names one of its parts.
        """
        async with aclosing(self._records(store, session, before)) as records:
            async for record in records:
                kind = event_type(record.data)
                if kind == CLEARED:
                    break
                self._add(record, kind)
                if self._needs_parts:
                    return None
                if self._full:
                    count, seq = self._fitting or (0, 0)
                    return fold_page(self.newest_first[:count], seq)
                if kind != "RUN_STARTED" or not self._enough:
                    continue
                if await begins_before(store, session, record.seq, self._view):
                    return fold_page(self.newest_first, record.seq)
                # Only notices are older: they belong to this page.
        return fold_page(self.newest_first, None)

    async def to_start(self, store: Store, session: str, before: int) -> int:
        """Collects the newest run; returns the seq where it, or the conversation, begins."""
        async with aclosing(self._records(store, session, before)) as records:
            async for record in records:
                kind = event_type(record.data)
                if kind == CLEARED:
                    return record.seq + 1
                self._add(record, kind)
                if kind == "RUN_STARTED":
                    return record.seq
        return self._view.cleared + 1

    def _records(self, store: Store, session: str, before: int) -> AsyncGenerator[Record]:
        """The records in view before that seq, the newest first."""
        most = min(PAGE, max(32, _PER_MESSAGE * self._messages))
        return backwards(
            store, session, before, view=self._view, most=most, event_size=self._event_size
        )

    def _add(self, record: Record, kind: str) -> None:
        """Adds the next older record."""
        self.newest_first.append(record)
        self._seen += kind in _STARTS
        if kind in _QUESTIONS:
            _track_questions(self._questions, record)
        if self._size is None:
            return
        self.weight += _weight(record.data, kind)
        self._ended = self._ended or kind in ENDS
        of_run = kind.isupper() and record.data.startswith(b'{"run":')
        self.inside_run = self.inside_run or (of_run and not self._ended)
        if kind != "RUN_STARTED" or self.inside_run or self.weight > self._size:
            return
        # A page should not begin between a run that asked and the one that resumes.
        if self._fitting is None or not self._questions:
            self._fitting = len(self.newest_first), record.seq

    @property
    def _needs_parts(self) -> bool:
        """Whether the newest run, or the rest of it, does not fit on one page."""
        if self._size is None or self._fitting is not None:
            return False
        return self.inside_run or self.weight > self._size

    @property
    def _full(self) -> bool:
        """Whether whole runs were found and the next one does not fit."""
        return self._size is not None and self.weight > self._size and self._fitting is not None

    @property
    def _enough(self) -> bool:
        return self._seen >= self._messages * (_FARTHEST if self._questions else 1)


def _weight(data: bytes, kind: str) -> int:
    """About how many bytes an event adds to the messages of a page; rarely fewer than it does."""
    if kind in _NOT_SHOWN or (kind == "message.accepted" and b'"overlap":"steer"' not in data):
        return 0
    head, text = split_delta(data)
    return len(data) if head is None or b'"metadata":' in head else len(text)


def _track_questions(questions: set[str], newest: Record) -> None:
    """Updates ``questions``: those that were answered, but whose asking run is older still."""
    match decode_record(newest.data).event:
        case e.RunStarted(input=RunAgentInput(resume=list(answers))):
            questions.update(answer.interrupt_id for answer in answers)
        case e.RunFinished(outcome=InterruptOutcome(interrupts=asked)):
            questions.difference_update(question.id for question in asked)


async def begins_before(store: Store, session: str, seq: int, view: View) -> bool:
    """Whether the conversation in view has a message before ``seq``."""
    async with aclosing(backwards(store, session, seq, view=view, most=FEWEST)) as records:
        seen = 0
        async for record in records:
            kind = event_type(record.data)
            if kind == CLEARED:
                return False
            seen += 1
            if kind in _STARTS or seen == FEWEST * FEWEST:
                return True
    return False


def fold_page(newest_first: list[Record], before: int | None) -> Page:
    """The page of these records."""
    fold = Fold()
    notices: deque[Posted] = deque(maxlen=_NOTICES)
    times: dict[str, int] = {}
    answered: deque[AnsweredQuestion] = deque(maxlen=MOST)
    for record in reversed(newest_first):
        kind = event_type(record.data)
        if kind == BRANCHED:
            # The records are those in view as of now.
            continue
        if kind not in _LOOKED_INTO:
            fold.apply_all((record,))
            continue
        body = decode_record(record.data)
        match body.event:
            case e.NoticePosted() as event:
                notices.append(Posted(record.seq, record.tag, event, fold.last))
            case e.RunStarted(input=RunAgentInput(messages=asked), timestamp=int(began)):
                times.update((message.id, began) for message in asked)
            case e.InterruptAnswered() as event:
                if (one := answered_by(event, fold.outline, after=fold.last)) is not None:
                    answered.append(one)
        fold.apply(body.event, body.run)
    messages = fold.messages
    shown = {message.id for message in messages}
    placed = [one if one.after in shown else one._replace(after=None) for one in notices]
    return Page(messages, before, placed, times, newest_of(answered))

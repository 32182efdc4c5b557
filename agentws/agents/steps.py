"""The steps of an agent: what it called and asked, in this run and in those that it goes on from.

A step is identified by what it is (a call and its arguments, a question), by where it was made (in
which call or delegate, by which agent of the run), and by how often it was made there before. So an
agent that is called again with an answer finds what was recorded of each step, and repeats none of
them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from ..errors import ReplayDiverged
from ..protocol import events as e
from ..protocol.messages import Interrupt

DIVERGED: Final = 5.0
"""Seconds for which a step that was not recorded waits until every answer has been asked for."""


class Asked(NamedTuple):
    """A question, and its answer."""

    interrupt: Interrupt
    answer: e.InterruptAnswered


class Suspended(NamedTuple):
    """A delegate that is called again, too."""

    ids: frozenset[str]
    """Its ids in the runs before; empty if it is new."""
    agent: str | None = None
    """The agent that a router has chosen for it."""


NOT_SUSPENDED: Final = Suspended(frozenset())

Call = tuple[str, bytes]
"""A tool's name, and its arguments as by :func:`canonical`."""


def canonical(arguments: str) -> bytes:
    """The same bytes for equal arguments in JSON, in whatever order they are written."""
    try:
        return msgspec.json.encode(msgspec.json.decode(arguments), order="sorted")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return arguments.encode(errors="replace")


class Recorded(NamedTuple):
    """What the runs that an agent goes on from have recorded, by step."""

    calls: Mapping[str, str] = {}
    """The ids of calls."""
    results: Mapping[str, e.ToolCallResult] = {}
    questions: Mapping[str, Asked] = {}
    resuming: frozenset[str] = frozenset()
    """The questions whose answers the agent is called again for."""
    delegates: Mapping[str, e.SubagentFinished | e.SubagentError] = {}
    """The ends of delegates."""
    repeatable: Mapping[Call, Sequence[e.ToolCallResult]] = {}
    """The results of calls in earlier attempts, which are out of view."""
    suspended: Mapping[str, Suspended] = {}
    """The delegates that worked when a run ended with questions."""
    turns: Mapping[str, int] = {}
    """How often each agent has got the run, up to the one that is called again."""


NOTHING_RECORDED: Final = Recorded()


class StepHost(Protocol):
    """What steps need of the run."""

    def origin(self) -> dict[str, Any]:
        """What a question must carry, so that the agent can be called again for its answer."""

    def now(self) -> int:
        """The time, in milliseconds since the epoch."""

    def replayed(self) -> None:
        """Called when an agent that was called again has asked for every answer."""

    def check_questions(self, questions: Sequence[Interrupt]) -> None:
        """Raises EventTooLarge if the run can't end with these questions.

        Raises InvalidEvent if it has ended.
        """

    async def until_running(self) -> None:
        """Returns when the run is active: at once, unless it waits for answers."""

    def is_waiting(self) -> None:
        """Called when the agent waits for answers, and nothing that it called is working."""


class Work:
    """A call that is working, and its timeout, which stands still while a person is asked."""

    __slots__ = ("id", "step", "held", "_left", "_pauses", "_timeout")

    def __init__(self, id: str, timeout: asyncio.Timeout, step: str) -> None:
        self.id = id
        self.step = step
        """The step that it is; what is called and asked in it are steps of their own."""
        self.held = 0
        """How many of its tasks wait until every answer was asked for."""
        self._timeout = timeout
        self._pauses = 0
        self._left: float | None = None

    @property
    def paused(self) -> bool:
        return self._pauses > 0

    def pause(self) -> None:
        self._pauses += 1
        due = self._timeout.when()
        if self._pauses == 1 and due is not None:
            self._left = due - asyncio.get_running_loop().time()
            self._timeout.reschedule(None)

    def go_on(self) -> None:
        self._pauses -= 1
        if not self._pauses and self._left is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._left)


class Steps:
    """The steps of one agent, as long as it is in memory. ``prefix`` makes its ids unique."""

    def __init__(
        self, host: StepHost, *, prefix: str, recorded: Recorded, agent: str | None
    ) -> None:
        """``agent`` is whose steps they are; ``None`` if it is the only one."""
        self._host = host
        self._prefix = prefix
        self._recorded = recorded
        self._repeatable = {call: list(results) for call, results in recorded.repeatable.items()}
        self._made: dict[str, int] = {}
        self._turns = dict(recorded.turns)
        self._place = ""
        if agent is not None:
            self._turns.setdefault(agent, 1)
            self._place = f"{agent}.{self._turns[agent]}"
        self._ids = 0
        self._working: set[Work] = set()
        self._waiting: dict[str, tuple[Interrupt, asyncio.Future[e.InterruptAnswered]]] = {}
        self._unasked = set(recorded.resuming)
        """Questions that the agent is called again for, and has not asked again yet."""
        self._followers: list[asyncio.Future[None]] = []
        self.cancelled = False
        """Whether nobody waits any more; see :meth:`cancel`."""
        self.open_calls: dict[str, str] = {}
        """The calls without a result, and their steps."""

    def __repr__(self) -> str:
        return f"<Steps working={len(self._working)} waiting={len(self._waiting)}>"

    # Which step it is

    def next(self, kind: str, name: str, arguments: bytes, within: Sequence[Work]) -> str:
        """The id of the next step of this kind, name and arguments.

        ``within`` are the calls that it is made in. The steps of each are counted apart: calls that
        work in parallel come in another order when what they called before is recorded.
        """
        place = within[-1].step if within else self._place
        told = b"\x00".join((kind.encode(), name.encode(errors="replace"), arguments))
        if place:
            told += b"\x00" + place.encode()
        digest = hashlib.sha256(told).hexdigest()[:20]
        self._made[digest] = count = self._made.get(digest, 0) + 1
        return f"{digest}.{count}"

    def hand_over(self, agent: str) -> None:
        """``agent`` goes on: its steps are its own, as they are if it is called again."""
        self._turns[agent] = turn = self._turns.get(agent, 0) + 1
        self._place = f"{agent}.{turn}"

    def new_id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}_{self._prefix}_{self._ids}"

    def origin(self) -> dict[str, Any]:
        return self._host.origin()

    def now(self) -> int:
        return self._host.now()

    # What was recorded

    @property
    def replaying(self) -> bool:
        """Whether an answer was not asked for yet: until then the agent repeats what is known."""
        return bool(self._unasked)

    def call(self, step: str) -> str | None:
        """The id of the call that was written in this step, whether it has a result or not."""
        return self._recorded.calls.get(step)

    def delegate(self, step: str) -> e.SubagentFinished | e.SubagentError | None:
        return self._recorded.delegates.get(step)

    def suspended(self, step: str) -> Suspended:
        """What the delegate of this step was in the runs before."""
        return self._recorded.suspended.get(step, NOT_SUSPENDED)

    def result(self, step: str) -> e.ToolCallResult | None:
        return self._recorded.results.get(step)

    def repeat(self, tool: str, arguments: str) -> e.ToolCallResult | None:
        """The result of the next equal call in an earlier attempt, once; ``None`` for a new one."""
        if not self._repeatable:
            return None
        results = self._repeatable.get((tool, canonical(arguments)))
        return results.pop(0) if results else None

    def asked(self, step: str) -> Asked | None:
        """The recorded question and answer of this step. The agent has now asked for it."""
        found = self._recorded.questions.get(step)
        if step in self._unasked:
            self._unasked.discard(step)
            if not self._unasked:
                self._release()
        return found

    def _release(self) -> None:
        self._host.replayed()
        followers, self._followers = self._followers, []
        for one in followers:
            if not one.done():
                one.set_result(None)

    async def wait_for_others(self, step: str, within: Sequence[Work]) -> None:
        """Returns when a question that was answered may go on: those of one run go on together.

        Until all were asked for, what the agent writes is dropped.
        """
        if step in self._recorded.resuming:
            await self.caught_up(within)

    async def caught_up(self, within: Sequence[Work]) -> None:
        """Returns when every answer was asked for: a step that was not recorded waits for that.

        ``within`` are the calls that the step is made in. Raises ReplayDiverged if no call is
        working and that does not happen: then the agent does something else than before, and the
        answer does not belong to it.
        """
        if not self._unasked:
            return
        following = asyncio.get_running_loop().create_future()
        self._followers.append(following)
        for one in within:
            one.held += 1
        try:
            while not (await asyncio.wait((following,), timeout=DIVERGED))[0]:
                if all(one.held for one in self._working):
                    raise ReplayDiverged()
            await following
        finally:
            for one in within:
                one.held -= 1

    # What is going on

    async def begin(self, work: Work) -> None:
        """Begins a call. While the run waits for answers, none begins: it could not be recorded."""
        await self._host.until_running()
        self._working.add(work)

    def end(self, work: Work) -> None:
        self._working.discard(work)
        self.report_idle()

    @contextmanager
    def pausing(self, calls: Iterable[Work]) -> Iterator[None]:
        """Within this a person is asked: the calls that wait for the answer are not working."""
        paused = list(calls)
        for one in paused:
            one.pause()
        try:
            yield
        finally:
            for one in paused:
                one.go_on()

    @property
    def idle(self) -> bool:
        """Whether the agent only waits for answers."""
        return bool(self._waiting) and all(one.paused for one in self._working)

    def report_idle(self) -> None:
        """Tells the run if the agent only waits for answers."""
        if self.idle:
            self._host.is_waiting()

    @property
    def questions(self) -> list[Interrupt]:
        """The questions that the agent waits for."""
        return [interrupt for interrupt, _ in self._waiting.values()]

    async def wait(self, interrupt: Interrupt) -> e.InterruptAnswered:
        """Returns the answer to a question. Raises EventTooLarge for a question that is."""
        self._host.check_questions([*self.questions, interrupt])
        answered: asyncio.Future[e.InterruptAnswered] = asyncio.get_running_loop().create_future()
        self._waiting[interrupt.id] = interrupt, answered
        self.report_idle()
        try:
            return await answered
        finally:
            self._waiting.pop(interrupt.id, None)

    def answer(self, answers: Iterable[e.InterruptAnswered]) -> None:
        """Gives the answers to who waits for them."""
        for one in answers:
            _, answered = self._waiting.pop(one.interrupt_id, (None, None))
            if answered is not None and not answered.done():
                answered.set_result(one)

    def cancel(self) -> None:
        """Cancels who waits for an answer or for its turn: the agent has ended, or is let go."""
        self.cancelled = True
        for _, answered in self._waiting.values():
            answered.cancel()
        for following in self._followers:
            following.cancel()

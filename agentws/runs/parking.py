"""The agents of one node that wait in memory for answers, see :class:`.asking.AskingRun`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

from ..limits import Limits
from ..sessions.session import Session
from ..tasks.tasks import Tasks
from .asking import AskingRun
from .beginning import RunMaker
from .ids import new_id
from .leased import LeasedSession
from .run import Run
from .timeouts import RunTimeouts
from .writer import RunWriter

logger: Final = logging.getLogger("agentws.run")


class SessionRuns(Protocol):
    """What parking needs of the scheduler of runs."""

    timeouts: RunTimeouts

    def release_slot(self, run: Run | None) -> None: ...

    def start_timer(self, leased: LeasedSession, run: Run) -> None: ...

    def run_ended(self, leased: LeasedSession, first: int) -> None: ...

    def retry_later(self, leased: LeasedSession, error: BaseException) -> None: ...

    def apply_missed_stops(self, leased: LeasedSession, run: AskingRun) -> None: ...

    async def run_session(self, leased: LeasedSession) -> None: ...


class _Parked(NamedTuple):
    session: str
    run: AskingRun


class Parking:
    """Waiting agents by the run that asked: at most ``Limits.max_parked``, for ``Limits.park``.

    The task of such a run stays in its agent. Another task goes on with the session, until the
    answers are there.
    """

    def __init__(self, runs: SessionRuns, maker: RunMaker, *, tasks: Tasks, limits: Limits) -> None:
        self._runs = runs
        self._maker = maker
        self._tasks = tasks
        self._limits = limits
        self._parked: dict[str, _Parked] = {}
        self.sessions: dict[str, set[str]] = {}
        """The same runs by session."""

    def __len__(self) -> int:
        return len(self._parked)

    def holds(self, session: Session) -> bool:
        """Whether an agent of the session waits here."""
        return session.id in self.sessions

    def without(self, idle: Sequence[LeasedSession], *, since: float) -> list[LeasedSession]:
        """Those that are idle since then or longer, and of which no agent waits here."""
        return [one for one in idle if one.idle_since <= since and not self.holds(one.session)]

    # To wait, and to go on

    def park(self, leased: LeasedSession, run: AskingRun) -> None:
        """Ends the run in the log: its agent waits in memory, and the session goes on."""
        if leased.run is not run or leased.lease is None:
            return
        following, asked, fence = new_id("run"), run.id, leased.lease.fence
        held = self._maker.writer(leased.session, following, fence, run.variables, leased.loop)
        ended = run.park(following, held)
        leased.run = None
        ending = self._end(leased, run, asked, ended)
        leased.task = self._tasks.spawn(ending, name=f"end of {asked}")

    async def _end(
        self, leased: LeasedSession, run: AskingRun, asked: str, ended: RunWriter
    ) -> None:
        self._runs.release_slot(run)
        self._runs.timeouts.remove(run)
        try:
            await ended.drain()
        except Exception as error:
            run.let_go()
            self._runs.retry_later(leased, error)
            return
        self._add(leased.session, asked, run)
        self._runs.run_ended(leased, run.first)
        await self._runs.run_session(leased)

    async def resume(self, leased: LeasedSession) -> bool:
        """Goes on with the agent of :meth:`resumable`, in its own task, in a slot that is free.

        False if the log has changed and is to be read again.
        """
        session = leased.session
        asked, answers = _next_asked(session), list(session.outline.next_answers().values())
        # Not to be let go from here on: its run begins.
        run = self._remove(asked)
        try:
            maker = self._maker
            begun = maker.start_held(session, run) or await maker.start(session, run)
        except BaseException:
            run.let_go()
            raise
        if not begun:
            self._add(session, asked, run)
            return False
        leased.run, leased.task, run.has_slot = run, run.task, True
        self._runs.start_timer(leased, run)
        run.resume(answers)
        self._runs.apply_missed_stops(leased, run)
        return True

    def _add(self, session: Session, asked: str, run: AskingRun) -> None:
        self._parked[asked] = _Parked(session.id, run)
        self.sessions.setdefault(session.id, set()).add(asked)
        run.call_later(self._limits.park, partial(self._let_go, asked))
        if len(self._parked) > self._limits.max_parked:
            self._let_go(next(iter(self._parked)))
        # Its question may be gone by now.
        self.check(session)

    def resumable(self, session: Session) -> bool:
        """Whether the agent waits here that goes on with the answers of the next run."""
        waiting = self._parked.get(_next_asked(session)) if self.holds(session) else None
        # Its task may have been cancelled by what the agent itself has left behind.
        return waiting is not None and waiting.run.task is not None

    def check(self, session: Session) -> None:
        """Lets agents go whose questions are not open any more, as after a ``/clear``."""
        if not self.holds(session):
            return
        outline = session.outline
        waiting = {outline.asked.get(id) for id in (*outline.interrupts, *outline.answers)}
        for asked in self.sessions[session.id] - waiting:
            self._let_go(asked)

    def let_go(self, session: Session) -> None:
        """Lets the agents of the session go."""
        for asked in list(self.sessions.get(session.id, ())):
            self._let_go(asked)

    def _let_go(self, asked: str) -> None:
        logger.info("run %s: its agent waits no longer, and is called again for the answer", asked)
        self._remove(asked).let_go()

    def _remove(self, asked: str) -> AskingRun:
        session, run = self._parked.pop(asked)
        self.sessions[session].discard(asked)
        if not self.sessions[session]:
            del self.sessions[session]
        run.stop_timer()
        return run


def _next_asked(session: Session) -> str:
    """The run whose questions the next run has the answers to."""
    outline = session.outline
    return outline.asked.get(next(iter(outline.next_answers()), ""), "")

"""The agents of one node that wait in memory for answers, see :class:`.asking.AskingRun`."""

from __future__ import annotations

import logging
from functools import partial
from typing import Final, NamedTuple, Protocol

from ..limits import Limits
from ..sessions.session import Session
from ..tasks.tasks import Tasks
from .asking import AskingRun
from .beginning import RunMaker, own_state
from .ids import new_id
from .leased import LeasedSession
from .run import Run
from .writer import RunWriter

logger: Final = logging.getLogger("agentws.run")


class SessionRuns(Protocol):
    """What parking needs of the scheduler of runs."""

    def release_slot(self, run: Run | None) -> None: ...

    def start_timer(self, leased: LeasedSession, run: Run) -> None: ...

    def run_ended(self, leased: LeasedSession, first: int) -> None: ...

    def retry_later(self, leased: LeasedSession, error: BaseException) -> None: ...

    def apply_missed_stops(self, leased: LeasedSession, run: Run) -> None: ...

    async def run_session(self, leased: LeasedSession) -> None: ...


class _Parked(NamedTuple):
    session: Session
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

    def __len__(self) -> int:
        return len(self._parked)

    def holds(self, session: Session) -> bool:
        """Whether an agent of the session waits here."""
        return any(one.session is session for one in self._parked.values())

    # To wait, and to go on

    def park(self, leased: LeasedSession, run: AskingRun) -> None:
        """Ends the run in the log: its agent waits in memory, and the session goes on."""
        if leased.run is not run or leased.lease is None:
            return
        following, asked = new_id("run"), run.id
        held = self._maker.writer(leased.session, following, leased.lease.fence, run.variables)
        ended = run.park(following, held)
        leased.run = None
        ending = self._end(leased, run, asked, ended)
        leased.task = self._tasks.spawn(ending, name=f"end of {asked}")

    async def _end(
        self, leased: LeasedSession, run: AskingRun, asked: str, ended: RunWriter
    ) -> None:
        self._runs.release_slot(run)
        run.stop_timer()
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
        asked, answers = _next_asked(session), list(session.outline.resuming.values())
        # Not to be let go from here on: its run begins.
        run = self._parked.pop(asked).run
        run.stop_timer()
        try:
            begun = await self._maker.start(session, run)
        except BaseException:
            run.let_go()
            raise
        if not begun:
            self._add(session, asked, run)
            return False
        leased.run, leased.task, run.has_slot = run, run.task, True
        self._runs.start_timer(leased, run)
        run.resume(answers, state=own_state(session))
        self._runs.apply_missed_stops(leased, run)
        return True

    def _add(self, session: Session, asked: str, run: AskingRun) -> None:
        self._parked[asked] = _Parked(session, run)
        run.call_later(self._limits.park, partial(self._let_go, asked))
        if len(self._parked) > self._limits.max_parked:
            self._let_go(next(iter(self._parked)))
        # Its question may be gone by now.
        self.check(session)

    def resumable(self, session: Session) -> bool:
        """Whether the agent waits here that goes on with the answers of the next run."""
        found = self._parked.get(_next_asked(session))
        return found is not None and found.session is session

    def check(self, session: Session) -> None:
        """Lets agents go whose questions are not open any more, as after a ``/clear``."""
        if not self._parked:
            return
        outline = session.outline
        ids = [*outline.interrupts, *outline.answers]
        waiting = {outline.asked.get(id) for id in ids}
        for asked, one in list(self._parked.items()):
            if one.session is session and asked not in waiting:
                self._let_go(asked)

    def let_go(self, session: Session | None = None) -> None:
        """Lets all agents go that wait here, or those of one session."""
        for asked, one in list(self._parked.items()):
            if session is None or one.session is session:
                self._let_go(asked)

    def _let_go(self, asked: str) -> None:
        run = self._parked.pop(asked).run
        run.stop_timer()
        logger.info("run %s: its agent waits no longer, and is called again for the answer", asked)
        run.let_go()


def _next_asked(session: Session) -> str:
    """The run whose questions the next run has the answers to."""
    outline = session.outline
    return outline.asked.get(next(iter(outline.resuming), ""), "")

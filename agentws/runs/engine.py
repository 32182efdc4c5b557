"""The scheduler of runs: which session runs what, and when.

The log is the queue. Any node may accept a message or a cancel; both are appended to the log. The
node that holds the session's lease reads them from the log and runs the agent. A node that gets a
lease first ends the orphaned run that the former holder left in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from ..agents.factory import Agents
from ..attachments.library import Files
from ..errors import AgentwsError, Fenced, NotFound, PositionLost
from ..limits import Limits
from ..sessions.held import HeldLease
from ..sessions.session import Session
from ..store import Store
from ..tasks.tasks import Tasks
from .asking import AskingRun
from .attempts import Attempts
from .beginning import RunMaker
from .expiring import Expiry
from .failure import Stop
from .leased import LeasedSession, until_idle
from .orphan import end_interrupted, end_orphan
from .parking import Parking
from .recovery import Recovery
from .renewing import Renewal
from .retries import RetryQueue
from .run import Run
from .run_slots import RunSlots
from .steering import append_undelivered
from .timeouts import RunTimeouts

logger: Final = logging.getLogger("agentws.run")

LINGER: Final = 2.0
"""Seconds for which the lease of an idle session is kept, since the next message often follows."""


class Runs:
    """Runs the agents of one node's sessions."""

    def __init__(
        self,
        *,
        store: Store,
        agents: Agents,
        limits: Limits,
        node: str,
        open_session: Callable[[str], Awaitable[Session]],
        files: Files | None,
        finished: Callable[[Session, int, int, float], None],
    ) -> None:
        """``finished`` is called with a session, the seqs of the first and the last event of a run
        that has ended, and the time of the loop's clock."""
        self._store = store
        self._agents = agents
        self._limits = limits
        self._finished = finished
        self._tasks = Tasks()
        self._slots = RunSlots(limits.max_runs)
        self.timeouts = RunTimeouts(limits.run_timeout, self._run_expired)
        self._leased: dict[str, LeasedSession] = {}
        self._retries = RetryQueue()
        self.renewal = Renewal(store=store, node=node, limits=limits, lost=self._lease_lost)
        self._recovery = Recovery(
            store=store,
            open_session=open_session,
            holds=self.holds,
            take_over=self._start_task,
        )
        self._maker = RunMaker(
            tasks=self._tasks, agents=agents, limits=limits, files=files, slots=self._slots
        )
        self._parking = Parking(self, self._maker, tasks=self._tasks, limits=limits)
        self._attempts = Attempts(agents, limits)
        self._expiry = Expiry(tasks=self._tasks, open_session=open_session)
        # Without agents this node runs nothing: another node takes the open sessions.
        self._draining, self._interrupting = not agents.names, False
        self.zombies = 0
        """Agents that ignore their cancellation: they still run, and their output is dropped."""

    def __repr__(self) -> str:
        return f"<Runs running={self.running} waiting={len(self._retries)}>"

    @property
    def running(self) -> int:
        """Active runs on this node."""
        return self._slots.taken

    def running_of(self, owner: str) -> int:
        """How many sessions of an identity have an active run, or one about to begin, here."""
        return sum(
            one.is_busy() and one.session.info.owner == owner for one in self._leased.values()
        )

    def holds(self, id: str) -> bool:
        """Whether this node runs the session, or will try to."""
        return id in self._leased or id in self._retries

    # What the log asks for

    def write_start(self, session: Session) -> None:
        """Appends the RUN_STARTED that a run still holds back, before a command is decided."""
        leased = self._leased.get(session.id)
        if leased is not None and leased.run is not None:
            leased.run.writer.write_start()

    def schedule(self, session: Session) -> None:
        """Starts or stops runs as the session's outline asks for. Called when that changed."""
        if session.outline.interrupts or self._parking.sessions or self._expiry.sessions:
            self._parking.check(session)
            self._expiry.watch(session)
        leased = self._leased.get(session.id)
        if leased is not None and leased.is_busy():
            if leased.run is not None:
                self._stop_if_cancelled(leased, leased.run)
        elif not session.outline.is_settled():
            self._start_task(session)

    def _start_task(self, session: Session) -> None:
        leased = self._leased.get(session.id)
        if self._draining or (leased is not None and leased.releasing):
            return
        if leased is None:
            leased = self._leased[session.id] = LeasedSession(session)
        elif leased.wake():
            return
        leased.task = self._tasks.spawn(self.run_session(leased), name=f"session {session.id}")

    def _stop_if_cancelled(self, leased: LeasedSession, run: Run) -> None:
        outline = leased.session.outline
        if outline.cancelling and outline.run == run.id:
            self._stop_run(leased, run, "cancelled")

    def _stop_run(self, leased: LeasedSession, run: Run, why: Stop) -> None:
        if leased.run is run and run.stop(why):
            grace = self._limits.cancel_grace
            asyncio.get_running_loop().call_later(grace, self._abandon_run, leased, run)

    def _abandon_run(self, leased: LeasedSession, run: Run) -> None:
        """Gives up on an agent that ignores its cancellation: the session goes on without it."""
        if leased.run is not run or run.ending:
            # The agent has returned: the end of its run only waits for a slow store.
            return
        run.abandoned = run.is_zombie = True
        self.release_slot(run)
        self.zombies += 1
        logger.error("run %s: the agent ignores its cancellation", run.id)
        leased.task = self._tasks.spawn(self._end_abandoned(leased, run), name=f"end of {run.id}")

    async def _end_abandoned(self, leased: LeasedSession, run: Run) -> None:
        first = leased.session.run_base.seq + 1
        try:
            if run.stopping == "fenced":
                raise Fenced()
            await run.end(run.stopped_event())
            run.writer.close()
            leased.run = None
            self.run_ended(leased, first)
        except Exception as error:
            self.retry_later(leased, error)
            return
        await self.run_session(leased)

    # The task of one session

    async def run_session(self, leased: LeasedSession) -> None:
        """Runs everything open in the session, one run after the other, then waits for more."""
        loop, task = leased.loop, leased.task
        try:
            while True:
                while await self._run_next(leased) and not leased.session.outline.is_settled():
                    pass
                if self._draining or leased.cancelled or leased.task is not task:
                    break
                leased.idle_since = loop.time()
                leased.wakeup = loop.create_future()
                if not await leased.wakeup:
                    return
        except BaseException as error:
            if leased.is_lost(task, error):
                self.retry_later(leased, error)
            if not isinstance(error, Exception):
                raise
            return
        if leased.task is task:
            leased.task = None

    async def _run_next(self, leased: LeasedSession) -> bool:
        """Ends an orphaned run, or does the next run.

        False when nothing is open, or when another task goes on with the session.
        """
        if leased.lease is None and not await leased.take_lease(self.renewal):
            # Another node has it. When that one leaves something open, a scan finds it.
            self._drop(leased)
            return False
        outline = leased.session.outline
        if outline.run is not None:
            await self._end_orphan(leased, outline.run)
            return True
        if self._draining or outline.is_settled():
            return False
        if outline.undelivered:
            return await append_undelivered(leased.session, leased.lease)
        if not self._slots.take():
            await self._slots.wait()
        run: AskingRun | None = None
        resumed = False
        try:
            if self._parking.resumable(leased.session):
                return not (resumed := await self._parking.resume(leased))
            lease = leased.lease
            if self._draining or outline.is_settled() or lease is None:
                # That came while this task waited for a slot.
                return True
            run = await self._maker.begin(leased.session, fence=lease.fence, loop=leased.loop)
            if run is None:
                # The log has changed, and is to be read again.
                return True
            return await self._drive_run(leased, run)
        finally:
            if not resumed:
                self.release_slot(run)

    def release_slot(self, run: Run | None) -> None:
        """Releases the slot of ``run``, if it still has one, or one that no run has begun in."""
        if run is None or run.give_up_slot():
            self._slots.release()

    def retry_later(self, leased: LeasedSession, error: BaseException) -> None:
        """The store refused or is unavailable: a retry here, or another node, goes on later."""
        expected = isinstance(error, AgentwsError)
        logger.warning("session %s: %s", leased.session.id, error, exc_info=not expected)
        if leased.run is not None:
            leased.run.writer.close()
            leased.run = None
        self._drop(leased)
        self._retries.retry_later(leased.session)

    def _drop(self, leased: LeasedSession) -> None:
        if self._leased.get(leased.session.id) is leased:
            del self._leased[leased.session.id]
        leased.end()
        self.renewal.drop(leased.session)
        self._parking.let_go(leased.session)

    # One run

    def apply_missed_stops(self, leased: LeasedSession, run: AskingRun) -> None:
        """Stops a run for what happened while its start was being appended."""
        self._stop_if_cancelled(leased, run)
        if leased.lease is None:
            self._stop_run(leased, run, "fenced")
        elif self._interrupting:
            self._interrupt(leased, run)

    async def _drive_run(self, leased: LeasedSession, run: AskingRun) -> bool:
        """Drives the run to its end. False when it was abandoned: another task ended it."""
        run.on_waiting = partial(self._parking.park, leased)
        leased.run, context = run, run.context
        self.apply_missed_stops(leased, run)
        self.start_timer(leased, run)
        try:
            await run.drive()
        except Fenced:
            self.zombies -= run.is_zombie
            if run.abandoned or run.parked is not None:
                return False
            raise
        finally:
            self.timeouts.remove(run)
            run.detach()
        leased.run = None
        self.run_ended(leased, run.first)
        leased.cancelled = run.stopping == "interrupted" and not self._draining
        if leased.info_changed(since=context.session):
            await leased.store_info(self._store)
        return not leased.cancelled

    def start_timer(self, leased: LeasedSession, run: Run) -> None:
        """Stops the run when it takes too long."""
        run.first = leased.session.run_base.seq + 1
        self.timeouts.add(run, leased.loop.time())

    def _run_expired(self, run: Run) -> None:
        if leased := self._leased.get(run.context.session.id):
            self._stop_run(leased, run, "timed_out")

    def run_ended(self, leased: LeasedSession, first: int) -> None:
        self._retries.forget(leased.session.id)
        self._finished(leased.session, first, leased.session.head.seq, leased.loop.time())

    async def _end_orphan(self, leased: LeasedSession, run: str) -> None:
        if leased.lease is None:
            raise Fenced()
        session, first = leased.session, leased.session.run_base.seq + 1
        await end_orphan(session, run, fence=leased.lease.fence, attempts=self._attempts)
        self.run_ended(leased, first)

    # Housekeeping

    async def sweep(self) -> None:
        """Releases the leases of idle sessions, in a drain at once, and retries what is due."""
        now = asyncio.get_running_loop().time()
        idle = [one for one in self._leased.values() if not (one.is_busy() or one.releasing)]
        free = idle if self._draining else self._parking.without(idle, since=now - LINGER)
        await self._release_all(free)
        await asyncio.gather(*(self._retry(session) for session in self._retries.due()))

    async def _retry(self, session: Session) -> None:
        try:
            await session.catch_up()
        except (NotFound, PositionLost):
            # It was deleted, or its log was lost: there is nothing left to retry.
            self._retries.forget(session.id)
        except AgentwsError as error:
            logger.info("session %s can't be run yet: %s", session.id, error)
        else:
            self._retries.remove(session.id)
            self.schedule(session)

    async def _release_all(self, idle: Sequence[LeasedSession]) -> None:
        for leased in idle:
            # Before anything is awaited: from here on no run begins under this lease.
            leased.releasing = True
        await asyncio.gather(*(self._release_lease(leased) for leased in idle))

    async def _release_lease(self, leased: LeasedSession) -> None:
        """Settles the session in the store (a checkpoint) and releases its lease."""
        try:
            await leased.settle_and_release(self._store)
        except AgentwsError as error:
            logger.info("session %s was not settled: %s", leased.session.id, error)
        finally:
            self._drop(leased)
            self.schedule(leased.session)

    def _lease_lost(self, held: HeldLease) -> None:
        """Stops the run of a session whose lease was lost."""
        leased = self._leased.get(held.lease.session)
        if leased is None or leased.lease is not held.lease or leased.releasing:
            return
        logger.warning("session %s: the lease was lost", leased.session.id)
        leased.lease = None
        self._parking.let_go(leased.session)
        if leased.run is not None:
            self._stop_run(leased, leased.run, "fenced")

    async def recover(self) -> None:
        """Takes over sessions that another node left with something open: orphaned runs too."""
        if not self._draining:
            await self._recovery.scan()

    def forget(self, session: str) -> None:
        """The session was deleted: its run is stopped."""
        self._retries.forget(session)
        leased = self._leased.get(session)
        if leased is not None:
            self._parking.let_go(leased.session)
            if leased.run is not None:
                self._stop_run(leased, leased.run, "fenced")

    def begin(self) -> None:
        """Begins to run sessions, also after a drain."""
        self._leased, self._retries = {}, RetryQueue()
        self.renewal.begin()
        self._draining, self._interrupting = not self._agents.names, False

    async def drain(self, *, grace: float) -> None:
        """Begins no more runs; those that are active after ``grace`` seconds are interrupted."""
        self._draining = True
        await until_idle(self._leased.values(), at_most=grace)
        self._interrupting = True
        for leased in list(self._leased.values()):
            if leased.run is not None:
                self._interrupt(leased, leased.run)
        await until_idle(self._leased.values(), at_most=self._limits.cancel_grace + 1.0)
        await self._release_all([one for one in self._leased.values() if not one.releasing])

    def _interrupt(self, leased: LeasedSession, run: AskingRun) -> None:
        """Stops a run. The attempt that follows, if one does, waits for the next node."""
        run.on_interrupted = partial(end_interrupted, leased, run.id, attempts=self._attempts)
        self._stop_run(leased, run, "interrupted")

    async def aclose(self) -> None:
        """Cancels every task. An agent that ignores this is left behind."""
        self._expiry.close()
        self.timeouts.close()
        await self.renewal.aclose()
        if ignoring := await self._tasks.aclose(grace=1.0):
            logger.error("%d agents ignore their cancellation and are left behind", ignoring)

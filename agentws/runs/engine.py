"""Which session runs what, and when.

The log is the queue: a message is accepted by whichever node received it, a stop likewise, and the
node that holds the session's lease reads both from the log. Whoever gets a lease first ends what
its former holder left open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Final

from ..agents.agent import Agent
from ..agents.factory import Agents
from ..errors import AgentwsError, Fenced, NotFound, PositionLost, VersionConflict
from ..limits import Limits
from ..sessions.session import Session
from ..store import Store
from ..tasks.tasks import Tasks
from .beginning import next_context, next_sender, run_started
from .leased import LeasedSession
from .orphan import end_orphan
from .retries import RetryQueue
from .run import Run, Stop
from .writer import RunWriter

logger: Final = logging.getLogger("agentws.run")

LINGER: Final = 2.0
"""Seconds for which an idle session's lease is kept: the next message mostly comes soon."""

BUSY: Final = 33
"""Runs going on with which deltas gather twice as long."""


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
        finished: Callable[[Session, int, int], None],
    ) -> None:
        self._store = store
        self._agents = agents
        self._limits = limits
        self._node = node
        self._open_session = open_session
        self._finished = finished
        self._tasks = Tasks()
        self._slots = asyncio.Semaphore(limits.max_runs)
        self._works: dict[str, LeasedSession] = {}
        self._retries = RetryQueue()
        # Without agents there is nothing to run: what is open is for another node.
        self._draining = not agents.names
        self.running = 0
        """Runs going on here."""
        self.zombies = 0
        """Agents that ignored their cancellation; their output is dropped, they still run."""

    def __repr__(self) -> str:
        return f"<Runs running={self.running} waiting={len(self._retries)}>"

    def running_of(self, owner: str) -> int:
        """How many of an identity's sessions have a run going on, or about to begin, here."""
        return sum(one.busy and one.session.info.owner == owner for one in self._works.values())

    def _pace(self) -> float:
        """How long a run's deltas gather: the longer, the more runs this node has."""
        return min(self._limits.gather * (1 + self.running / BUSY), self._limits.max_gather)

    def holds(self, session: Session) -> bool:
        """Whether this node has anything to do with running the session."""
        return self._known(session.id)

    def _known(self, id: str) -> bool:
        return id in self._works or id in self._retries

    # Deciding

    def write_start(self, session: Session) -> None:
        """Appends the start of a run that has begun here, before anything is decided without it."""
        work = self._works.get(session.id)
        if work is not None and work.run is not None:
            work.run.writer.write_start()

    def schedule(self, session: Session) -> None:
        """Starts, or stops, what the session's outline asks for."""
        work = self._works.get(session.id)
        if work is not None and work.busy:
            if work.run is not None:
                self._obey(work, work.run)
        elif not session.outline.settled:
            self._start(session)

    def _start(self, session: Session) -> None:
        work = self._works.get(session.id)
        if self._draining or (work is not None and work.leaving):
            return
        if work is None:
            work = self._works[session.id] = LeasedSession(session)
        elif work.wake():
            return
        work.task = self._tasks.spawn(self._work(work), name=f"session {session.id}")

    def _obey(self, work: LeasedSession, run: Run) -> None:
        outline = work.session.outline
        if outline.run == run.id and outline.cancelling:
            self._stop(work, run, "cancelled")

    def _stop(self, work: LeasedSession, run: Run, why: Stop) -> None:
        if work.run is run and run.stop(why):
            grace = self._limits.cancel_grace
            asyncio.get_running_loop().call_later(grace, self._abandon, work, run)

    def _abandon(self, work: LeasedSession, run: Run) -> None:
        """The agent ignores its cancellation: the session goes on without it."""
        if work.run is not run or run.ending:
            # An end that waits for a slow store is no agent that resists.
            return
        run.abandoned = True
        self._give_back()
        self.zombies += 1
        logger.error("run %s: the agent ignores its cancellation", run.id)
        work.task = self._tasks.spawn(self._take_over(work, run), name=f"end of {run.id}")

    async def _take_over(self, work: LeasedSession, run: Run) -> None:
        first = work.session.run_base.seq + 1
        try:
            if run.stopping == "fenced":
                raise Fenced()
            await run.end(run.stopped())
            run.writer.close()
            work.run = None
            self._ended(work, first)
        except Exception as error:
            self._retry_later(work, error)
            return
        await self._work(work)

    # Working

    async def _work(self, work: LeasedSession) -> None:
        """Runs whatever is open in the session, one after the other, and waits for more."""
        loop, task = asyncio.get_running_loop(), work.task
        try:
            while True:
                while await self._next(work):
                    pass
                if self._draining or work.cancelled or work.task is not task:
                    break
                work.idle_since = loop.time()
                work.idle = loop.create_future()
                if not await work.idle:
                    return
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            self._retry_later(work, error)
            if not isinstance(error, Exception):
                raise
            return
        if work.task is task:
            work.task = None

    async def _take_lease(self, work: LeasedSession) -> bool:
        session = work.session
        ttl = self._limits.lease_ttl
        work.lease = await self._store.lease(session.id, owner=self._node, ttl=ttl)
        if work.lease is None:
            self._leave(work)
            self._retries.add(session)
            return False
        await session.catch_up()
        return True

    async def _next(self, work: LeasedSession) -> bool:
        """Does the next thing. False when there is none, or when another task does it."""
        if work.lease is None and not await self._take_lease(work):
            return False
        outline = work.session.outline
        if outline.run is not None:
            await self._end_orphan(work, outline.run)
            return True
        if self._draining or outline.settled:
            return False
        await self._slots.acquire()
        self.running += 1
        run = None
        try:
            run = await self._begin(work)
            return run is None or await self._drive(work, run)
        finally:
            if run is None or not run.abandoned:
                self._give_back()

    def _give_back(self) -> None:
        self.running -= 1
        self._slots.release()

    def _retry_later(self, work: LeasedSession, error: BaseException) -> None:
        """The store refused or is away: what is open stays so, until somebody can go on."""
        expected = isinstance(error, AgentwsError)
        logger.warning("session %s: %s", work.session.id, error, exc_info=not expected)
        if work.run is not None:
            work.run.writer.close()
            work.run = None
        self._leave(work)
        self._retries.retry_later(work.session)

    def _leave(self, work: LeasedSession) -> None:
        if self._works.get(work.session.id) is work:
            del self._works[work.session.id]
        work.end()

    # One run

    async def _begin(self, work: LeasedSession) -> Run | None:
        """The run that comes next; ``None`` to look again."""
        session = work.session
        if self._draining or session.outline.settled or work.lease is None:
            return None
        sender, context = next_sender(session), next_context(session)
        writer = RunWriter(
            session,
            run=context.run_id,
            fence=work.lease.fence,
            tasks=self._tasks,
            pace=self._pace,
            max_size=self._limits.max_run_size,
            max_event_size=self._limits.max_event_size,
        )
        variables = None if sender is None else sender.context
        run = Run(id=context.run_id, context=context, writer=writer, variables=variables)
        try:
            await writer.begin(run_started(context), expect=session.head.seq)
        except VersionConflict:
            # What it was to answer may be withdrawn by now, or something else comes first.
            await session.catch_up()
            return None
        work.run = run
        self._stop_late(work, run)
        return run

    def _stop_late(self, work: LeasedSession, run: Run) -> None:
        """Obeys what came while the run's start was being written."""
        self._obey(work, run)
        if work.lease is None:
            self._stop(work, run, "fenced")
        elif self._draining:
            self._stop(work, run, "interrupted")

    async def _drive(self, work: LeasedSession, run: Run) -> bool:
        """Drives the run to its end. False when it was abandoned, and another task goes on."""
        first, context = work.session.run_base.seq + 1, run.context

        async def make() -> Agent:
            return await self._agents.make(context.agent, context.session)

        # An event loop keeps a timer for a while after it was cancelled, and its context with it.
        timer = asyncio.get_running_loop().call_later(
            self._limits.run_timeout, self._stop, work, run, "timed_out", context=Context()
        )
        try:
            await run.drive(make)
        except Fenced:
            if run.abandoned:
                self.zombies -= 1
                return False
            raise
        finally:
            timer.cancel()
        work.run = None
        self._ended(work, first)
        work.cancelled = run.stopping == "interrupted" and not self._draining
        await work.keep_info(self._store, before=context.session)
        return not work.cancelled

    def _ended(self, work: LeasedSession, first: int) -> None:
        self._retries.forget(work.session.id)
        self._finished(work.session, first, work.session.head.seq)

    async def _end_orphan(self, work: LeasedSession, run: str) -> None:
        if work.lease is None:
            raise Fenced()
        first = work.session.run_base.seq + 1
        await end_orphan(work.session, run, fence=work.lease.fence)
        logger.warning("run %s of a lost node was ended", run)
        self._ended(work, first)

    # Housekeeping

    async def sweep(self) -> None:
        """Gives up leases of idle sessions and retries what had to wait. Called now and then."""
        now = asyncio.get_running_loop().time()
        idle = [one for one in self._works.values() if not (one.busy or one.leaving)]
        await self._settle_all([one for one in idle if now - one.idle_since >= LINGER])
        await asyncio.gather(*(self._try_again(session) for session in self._retries.due()))

    async def _try_again(self, session: Session) -> None:
        try:
            await session.catch_up()
        except (NotFound, PositionLost):
            # It was deleted, or is another log now: whoever opens that begins anew.
            self._retries.forget(session.id)
        except AgentwsError as error:
            logger.info("session %s still waits: %s", session.id, error)
        else:
            self._retries.remove(session.id)
            self.schedule(session)

    async def _settle_all(self, works: Sequence[LeasedSession]) -> None:
        for work in works:
            # Said before anything is awaited: from here on no run begins under this lease.
            work.leaving = True
        await asyncio.gather(*(self._settle(work) for work in works))

    async def _settle(self, work: LeasedSession) -> None:
        """Writes down that nothing is open, and lets the lease go."""
        try:
            await work.settle(self._store)
        except AgentwsError as error:
            logger.info("session %s was not settled: %s", work.session.id, error)
        finally:
            self._leave(work)
            self.schedule(work.session)

    async def renew(self) -> None:
        """Renews the leases held here; stops the runs of those that were lost."""
        held = {id: work for id, work in self._works.items() if work.lease is not None}
        if not held:
            return
        ttl = self._limits.lease_ttl
        kept = set(await self._store.renew(self._node, list(held), ttl=ttl))
        for id in held.keys() - kept:
            work = held[id]
            if work.leaving:  # given back while the store was asked
                continue
            logger.warning("session %s: the lease was lost", id)
            work.lease = None
            if work.run is not None:
                self._stop(work, work.run, "fenced")

    async def recover(self) -> None:
        """Takes up sessions that some node left with something open."""
        if self._draining:
            return
        for id in await self._store.unsettled():
            if self._known(id):
                continue
            try:
                session = await self._open_session(id)
                await session.catch_up()
            except AgentwsError as error:
                logger.warning("session %s was not recovered: %s", id, error)
                continue
            if not self._known(id):
                self._start(session)

    def forget(self, session: str) -> None:
        """The session is gone: a run that goes on in it has nobody to talk to."""
        self._retries.forget(session)
        work = self._works.get(session)
        if work is not None and work.run is not None:
            self._stop(work, work.run, "fenced")

    def begin(self) -> None:
        """Takes up work, again after a drain."""
        self._works, self._retries = {}, RetryQueue()
        self._draining = not self._agents.names

    async def drain(self, *, grace: float) -> None:
        """Begins no more runs, waits for those going on, then ends what is left, retryable."""
        self._draining = True
        await self._wait_for_runs(grace)
        for work in list(self._works.values()):
            if work.run is not None:
                self._stop(work, work.run, "interrupted")
        await self._wait_for_runs(self._limits.cancel_grace + 1.0)
        await self._settle_all([one for one in self._works.values() if not one.leaving])

    async def _wait_for_runs(self, at_most: float) -> None:
        tasks = {work.task for work in self._works.values() if work.task and work.busy}
        if tasks:
            await asyncio.wait(tasks, timeout=at_most)

    async def aclose(self) -> None:
        """Ends every task; an agent that ignores its cancellation is left behind."""
        ignoring = await self._tasks.aclose(grace=1.0)
        if ignoring:
            logger.error("%d agents ignore their cancellation and are left behind", ignoring)

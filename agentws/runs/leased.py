"""What a node keeps in memory of a session whose lease it holds, to run its agent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from ..sessions.session import Session
from ..store import Lease, SessionInfo, Store
from .asking import AskingRun
from .failure import is_current
from .renewing import Renewal


class LeasedSession:
    """A session that this node runs: its lease, its active run, the task that drives it."""

    __slots__ = (
        "cancelled",
        "idle_since",
        "lease",
        "loop",
        "releasing",
        "run",
        "session",
        "task",
        "wakeup",
    )

    def __init__(self, session: Session) -> None:
        self.session = session
        self.loop: Final = asyncio.get_running_loop()
        """The loop of its tasks. To ask for the running loop costs more than most of a run's steps:
        before Python 3.12 it is a system call."""
        self.lease: Lease | None = None
        self.run: AskingRun | None = None
        self.task: asyncio.Task[None] | None = None
        self.wakeup: asyncio.Future[bool] | None = None
        """What the task waits for between runs: True to look for the next run, False to end."""
        self.idle_since = 0.0
        self.releasing = False
        """Whether the lease is being released: no run begins under it any more."""
        self.cancelled = False
        """Whether the task was cancelled in a run, as by an event loop that is closed: it must not
        wait in that loop."""

    def is_busy(self) -> bool:
        """Whether a run is active, or about to begin."""
        return self.task is not None and self.wakeup is None

    def is_lost(self, task: asyncio.Task[None] | None, error: BaseException) -> bool:
        """Whether nothing goes on with the session after ``error`` in ``task``.

        That may be a cancellation by what an agent has left behind; another task goes on with a run
        that was abandoned, and none when the event loop is gone.
        """
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            return self.task is task and self.is_busy() and is_current(task)
        return True

    def wake(self) -> bool:
        """Makes the waiting task look for the next run. False when no task waits."""
        return self._end_waiting(True)

    def end(self) -> None:
        """Ends the task if it waits; a busy one ends by itself."""
        if self._end_waiting(False):
            self.task = None

    def _end_waiting(self, go_on: bool) -> bool:
        wakeup, self.wakeup = self.wakeup, None
        if wakeup is None or wakeup.done():
            return False
        wakeup.set_result(go_on)
        return True

    async def take_lease(self, renewal: Renewal) -> bool:
        """Takes the session's lease; False while another node has it.

        The store issues the fencing token with it (``Lease.fence``). It is sent with every append
        of a run: the store refuses one with an older token.
        """
        self.lease = await renewal.take(self.session)
        if self.lease is None:
            return False
        await self.session.catch_up()
        return True

    async def settle_and_release(self, store: Store) -> None:
        """Settles the session if nothing is open, and releases its lease."""
        session, lease = self.session, self.lease
        if lease is None:
            return
        if session.outline.is_settled():
            # An append may have seemed to fail here and be in the log: then no bell was rung.
            session.announce()
            await session.settle(fence=lease.fence)
        await store.release(lease)
        session.held = None

    def info_changed(self, *, since: SessionInfo) -> bool:
        """Whether the agent has changed what the store keeps besides the log."""
        info = self.session.info
        if info is since:
            return False
        return (info.title, info.metadata, info.agent, info.retention) != (
            since.title,
            since.metadata,
            since.agent,
            since.retention,
        )

    async def store_info(self, store: Store) -> None:
        """Stores what lists of sessions show, and how long the session is kept."""
        info = self.session.info
        await store.update(
            self.session.id,
            title=info.title,
            metadata=info.metadata,
            agent=info.agent,
            retention=info.retention,
        )


async def until_idle(sessions: Iterable[LeasedSession], *, at_most: float) -> None:
    """Waits until none of them has an active run, for so many seconds at most."""
    tasks = {leased.task for leased in sessions if leased.task and leased.is_busy()}
    if tasks:
        await asyncio.wait(tasks, timeout=at_most)

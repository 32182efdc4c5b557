"""What a node knows of a session that it runs."""

from __future__ import annotations

import asyncio
import secrets
import time

from ..sessions.session import Session
from ..store import Lease, SessionInfo, Store
from .run import Run


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_urlsafe(12)}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class LeasedSession:
    """A session that this node runs: its lease, the run going on, the task that drives it."""

    __slots__ = ("cancelled", "idle", "idle_since", "lease", "leaving", "run", "session", "task")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.lease: Lease | None = None
        self.run: Run | None = None
        self.task: asyncio.Task[None] | None = None
        self.idle: asyncio.Future[bool] | None = None
        """What the task waits for between runs, as the next message mostly comes soon: whether to
        look for it, or to end."""
        self.idle_since = 0.0
        self.leaving = False
        self.cancelled = False
        """Whether the task was cancelled in a run, as by an event loop that ends: it must not wait
        for more in it."""

    @property
    def busy(self) -> bool:
        """Whether a run goes on, or is about to begin."""
        return self.task is not None and self.idle is None

    def wake(self) -> bool:
        """Has the task look for what to do. False when there is no task that waits."""
        return self._end_waiting(True)

    def end(self) -> None:
        """Ends a task that waits; one that is busy ends by itself."""
        if self._end_waiting(False):
            self.task = None

    def _end_waiting(self, go_on: bool) -> bool:
        idle, self.idle = self.idle, None
        if idle is None or idle.done():
            return False
        idle.set_result(go_on)
        return True

    async def settle(self, store: Store) -> None:
        """Writes down whether nothing is open, and lets the lease go."""
        session, lease = self.session, self.lease
        if lease is None:
            return
        if session.outline.settled:
            # Some of it may have been told as failed to who appended it, and rung for nobody.
            session.announce()
            await session.settle(fence=lease.fence)
        await store.release(lease)

    async def keep_info(self, store: Store, *, before: SessionInfo) -> None:
        """An agent may have named its session: lists are made from what the store knows."""
        info = self.session.info
        if (info.title, info.metadata) != (before.title, before.metadata):
            await store.update(self.session.id, title=info.title, metadata=info.metadata)

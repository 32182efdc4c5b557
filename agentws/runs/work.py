"""What a node knows of a session that it runs."""

from __future__ import annotations

import asyncio
import secrets
import time

from ..session import Session
from ..store import Lease
from .run import Run


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_urlsafe(12)}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Work:
    """A session that this node runs: its lease, the run going on, the task that drives it."""

    __slots__ = (
        "cancelled",
        "idle",
        "idle_since",
        "lease",
        "leaving",
        "run",
        "session",
        "task",
    )

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
        return self._say(True)

    def end(self) -> None:
        """Ends a task that waits; one that is busy ends by itself."""
        if self._say(False):
            self.task = None

    def _say(self, go_on: bool) -> bool:
        idle, self.idle = self.idle, None
        if idle is None or idle.done():
            return False
        idle.set_result(go_on)
        return True

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

    __slots__ = ("idle_since", "lease", "leaving", "run", "session", "task")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.lease: Lease | None = None
        self.run: Run | None = None
        self.task: asyncio.Task[None] | None = None
        self.idle_since = 0.0
        self.leaving = False

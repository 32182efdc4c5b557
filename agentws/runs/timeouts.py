"""Ends runs that take too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Final

from .run import Run


class RunTimeouts:
    """Calls ``expired`` for each run that is active for ``seconds``: with one timer for all.

    All runs have the same time, so they are due in the order in which they began.
    """

    def __init__(self, seconds: float, expired: Callable[[Run], object]) -> None:
        self._seconds: Final = seconds
        self._expired = expired
        self._due: dict[Run, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, run: Run, now: float) -> None:
        """The run is active from ``now`` on, in seconds of the loop's clock."""
        due = self._due[run] = now + self._seconds
        if self._timer is None:
            self._set_timer(due)

    def remove(self, run: Run) -> None:
        """The run is not active any more."""
        self._due.pop(run, None)

    def close(self) -> None:
        """Forgets all runs."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, due: float) -> None:
        # With an empty context: the timer is not of the run that happened to come first.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(due, self._check, context=Context())

    def _check(self) -> None:
        self._timer, now = None, asyncio.get_running_loop().time()
        for run, due in list(self._due.items()):
            if due > now:
                self._set_timer(due)
                return
            del self._due[run]
            self._expired(run)

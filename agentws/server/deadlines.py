"""Deadlines of many connections with one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Final, Generic, TypeVar

T = TypeVar("T")

SLICE: Final = 128
"""Connections whose time is up that one sweep handles before the event loop gets its turn."""
SPACING: Final = 0.05
"""The shortest time between two sweeps, in seconds, and so how late a deadline may be noticed."""


class Deadlines(Generic[T]):
    """Calls ``passed(connection)`` for each connection that was started ``seconds`` ago.

    All have the same time, so the one that was started first is the first to pass: a sweep over
    many connections costs what the passed ones cost. There is no timer while nothing is started.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, passed: Callable[[T], None]
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._passed = passed
        self._ends: dict[T, float] = {}
        # True while a sweep is scheduled or in progress: then no second one may be scheduled.
        self._active = False

    def __len__(self) -> int:
        return len(self._ends)

    def start(self, connection: T) -> None:
        """Start the time of this connection; does nothing while it runs already."""
        if connection in self._ends:
            return
        self._ends[connection] = self._loop.time() + self._seconds
        if not self._active:
            self._active = True
            self._loop.call_later(self._seconds, self._sweep)

    def stop(self, connection: T) -> None:
        """Its time does not matter any more; does nothing when it was not started."""
        self._ends.pop(connection, None)

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection, end in tuple(islice(self._ends.items(), SLICE)):
            if end > now:
                break
            # What another one did when it passed may have ended this one, or begun it again.
            if self._ends.get(connection) == end:
                del self._ends[connection]
                self._passed(connection)
        first = next(iter(self._ends.values()), None)
        self._active = first is not None
        if first is not None:
            delay = max(SPACING, first - now) if first > now else 0.0
            self._loop.call_later(delay, self._sweep)

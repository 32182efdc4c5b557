"""How late the event loop is: the delay of a timer, which every other callback waits for too."""

from __future__ import annotations

import asyncio
from typing import Final

TICK: Final = 0.5
"""Seconds between two measurements: one timer of the loop, and no task."""
WINDOW: Final = 10.0
"""Seconds for which a delay is remembered, at least; and twice this at most."""


class LoopLag:
    """The longest delay of the loop's timers in the last ``WINDOW`` seconds or a little more."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._recent = 0.0
        self._before = 0.0
        self._window_ends = 0.0

    @property
    def seconds(self) -> float:
        return max(self._recent, self._before)

    def begin(self) -> None:
        """Begins to measure on the running loop."""
        loop = asyncio.get_running_loop()
        self._recent = self._before = 0.0
        self._window_ends = loop.time() + WINDOW
        self._schedule(loop)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + TICK
        self._timer = loop.call_at(due, self._tick, loop, due)

    def _tick(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        if now >= self._window_ends:
            self._before, self._recent = self._recent, 0.0
            self._window_ends = now + WINDOW
        self._recent = max(self._recent, now - due)
        self._schedule(loop)

"""Who reads a log as it grows."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ..errors import PositionLost


class Follower(Protocol):
    """Whoever reads a session's log as it grows."""

    def ring(self) -> None:
        """There may be more to read. Called on the event loop; must not block or raise."""

    def lost(self) -> None:
        """The log is not what it was: every position in it is void."""


class Bell:
    """A follower that waits: rung any number of times, it wakes once."""

    __slots__ = ("_event", "_lost")

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._lost = False

    def ring(self) -> None:
        self._event.set()

    def lost(self) -> None:
        self._lost = True
        self._event.set()

    def clear(self) -> None:
        self._event.clear()

    async def wait(self) -> None:
        """Raises PositionLost when the log is not what it was."""
        await self._event.wait()
        if self._lost:
            raise PositionLost("lost")

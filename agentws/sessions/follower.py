"""Followers: the subscribers of a session, which read its log as it grows."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ..errors import PositionLost


class Follower(Protocol):
    """A subscriber of a session: holds a position in its log and reads on when it is rung."""

    def ring(self) -> None:
        """There may be more to read. Called on the event loop; must not block or raise."""

    def lost(self) -> None:
        """The log was deleted, lost or replaced: no position in it is valid any more."""


class Bell:
    """A follower for one waiting task; any number of rings wake it once."""

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
        """Returns after a ring. Raises PositionLost when the log was lost."""
        await self._event.wait()
        if self._lost:
            raise PositionLost("lost")

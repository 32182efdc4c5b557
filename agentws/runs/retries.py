"""Sessions that could not go on here: their lease is another node's, or the store is away."""

from __future__ import annotations

import asyncio
from typing import Final

from ..sessions.session import Session

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds after which a session that could not go on is tried again, at most."""


class RetryQueue:
    """When to try which again: later each time, for one that fails again and again."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[float, Session]] = {}
        self._pauses: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, session: str) -> bool:
        return session in self._due

    def add(self, session: Session) -> None:
        """To be tried again: at once, or after its pause when it has faltered."""
        due = asyncio.get_running_loop().time() + self._pauses.get(session.id, 0.0)
        self._due[session.id] = due, session

    def retry_later(self, session: Session) -> None:
        """To be tried again, and after twice the pause if it has faltered before."""
        pause = self._pauses.get(session.id)
        self._pauses[session.id] = FIRST_PAUSE if pause is None else min(2 * pause, LONGEST_PAUSE)
        self.add(session)

    def due(self) -> list[Session]:
        """Those whose time has come; they wait on until :meth:`remove`."""
        now = asyncio.get_running_loop().time()
        return [session for due, session in self._due.values() if due <= now]

    def remove(self, session: str) -> None:
        self._due.pop(session, None)

    def forget(self, session: str) -> None:
        """It went on well, or is gone: it neither waits, nor has it ever faltered."""
        self._due.pop(session, None)
        self._pauses.pop(session, None)

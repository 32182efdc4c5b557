"""Sessions to be tried again: another node has their lease, or the store is unavailable."""

from __future__ import annotations

import asyncio
from typing import Final

from ..sessions.session import Session

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds before the first retry after a failure, and before any later one at most."""


class RetryQueue:
    """Sessions and the times of their next retry, with exponential backoff after failures."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[float, Session]] = {}
        self._pauses: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, session: str) -> bool:
        return session in self._due

    def add(self, session: Session) -> None:
        """Retries the session at once, or after its pause if it has failed before."""
        due = asyncio.get_running_loop().time() + self._pauses.get(session.id, 0.0)
        self._due[session.id] = due, session

    def retry_later(self, session: Session) -> None:
        """Retries the session after a failure: each time after twice the pause."""
        pause = self._pauses.get(session.id)
        self._pauses[session.id] = FIRST_PAUSE if pause is None else min(2 * pause, LONGEST_PAUSE)
        self.add(session)

    def due(self) -> list[Session]:
        """The sessions that are due; each stays until :meth:`remove`."""
        now = asyncio.get_running_loop().time()
        return [session for due, session in self._due.values() if due <= now]

    def remove(self, session: str) -> None:
        self._due.pop(session, None)

    def forget(self, session: str) -> None:
        """Removes a session that succeeded or is gone, and its pause."""
        self._due.pop(session, None)
        self._pauses.pop(session, None)

"""Retention: a session that was not used for long enough is deleted.

A session has expired when it was not updated for its own retention, or else for the gateway's. It
is kept while a node has its lease (a run is active), and while a client is connected to any node:
the node of that client counts it as used before it expires. Whether it is still unused is checked
in the same step as the deletion, so a message that comes at the last moment keeps it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from ..errors import NotFound
from ..limits import Limits
from ..sessions.registry import Sessions
from ..sessions.session import Session
from ..store import SessionInfo, Store

EARLY: Final = 60.0
"""Seconds before its expiry at which a followed session is counted as used, at most."""


class Delete(Protocol):
    async def __call__(self, id: str, *, updated: float) -> None: ...


class Retention:
    """Keeps the sessions with a client of this node, and deletes expired ones of any node."""

    def __init__(
        self,
        *,
        store: Store,
        sessions: Sessions,
        limits: Limits,
        delete: Delete,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._default = limits.session_retention
        self._delete = delete
        self._clock = clock

    async def work(self) -> None:
        """One batch. Raises Unavailable; the rest is done the next time."""
        soon = self._clock()
        for session in self._sessions:
            if session.followers and self._expires_soon(session.info, soon):
                await self._count_as_used(session)
        for info in await self._store.stale(retention=self._default):
            await self._delete(info.id, updated=info.updated)

    def _expires_soon(self, info: SessionInfo, now: float) -> bool:
        """By what this node knows: the session may have been used since, which does no harm."""
        kept = self._default if info.retention is None else info.retention
        return kept is not None and info.updated + kept - min(EARLY, kept / 2) < now

    async def _count_as_used(self, session: Session) -> None:
        try:
            updated = (await self._store.update(session.id)).updated
        except NotFound:
            return
        session.info = msgspec.structs.replace(session.info, updated=updated)

"""Finds the sessions that a node has left with something open, and takes them over."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from ..errors import AgentwsError
from ..sessions.session import Session
from ..store import Store

logger: Final = logging.getLogger("agentws.run")

SCAN: Final = 0.8
"""The most seconds between two scans of one node, so that a takeover begins within a second after
the lease has expired."""
PAGE: Final = 100
"""The sessions that one query of a scan finds."""
OPENED: Final = 10
"""How many of them are opened at the same time."""


class Recovery:
    """Scans the store. ``holds`` tells which sessions this node runs, or will try to.

    ``take_over`` is called with each of the others, with its newest log.
    """

    def __init__(
        self,
        *,
        store: Store,
        open_session: Callable[[str], Awaitable[Session]],
        holds: Callable[[str], bool],
        take_over: Callable[[Session], None],
    ) -> None:
        self._store = store
        self._open_session = open_session
        self._holds = holds
        self._take_over = take_over
        self._known = 0
        """How many sessions the last query found. Those that can't be taken over are found again:
        the next one must find others besides them."""

    async def scan(self) -> None:
        """Takes over what it finds; goes on for as long as there is more than one page."""
        tried: set[str] = set()
        more = True
        while more:
            limit = PAGE + self._known
            found = await self._store.unsettled(limit=limit)
            fresh = [id for id in found if not (id in tried or self._holds(id))]
            # Several nodes scan: each in another order, so that they share the work.
            random.shuffle(fresh)
            for at in range(0, len(fresh), OPENED):
                await asyncio.gather(*map(self._recover, fresh[at : at + OPENED]))
            tried.update(fresh)
            self._known = len(found)
            more = len(found) >= limit

    async def _recover(self, id: str) -> None:
        try:
            session = await self._open_session(id)
            await session.catch_up()
        except AgentwsError as error:
            logger.warning("session %s was not recovered: %s", id, error)
            return
        if not self._holds(id):
            self._take_over(session)

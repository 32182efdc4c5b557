"""Folding logs once their replay window has passed."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final, NamedTuple

from ..errors import NotFound, Unavailable
from ..protocol.merge import merge
from ..store import PAGE, Store
from .conversation import compact_run
from .session import Session

logger: Final = logging.getLogger("agentws")

PER_TURN: Final = 100
"""Logs that are folded before other housekeeping gets its turn."""


class _Due(NamedTuple):
    at: float
    session: str
    first: int | None
    """``None`` for all there is before ``last``."""
    last: int


class Compactions:
    """Which logs are to be folded, and when.

    That is kept in memory alone, and a process that ends forgets it. So what was in a session's log
    when it was loaded is looked at, too, once any run in it must be out of its replay window.
    """

    def __init__(self, store: Store, *, window: float) -> None:
        self._store = store
        self._window = window
        self._due: deque[_Due] = deque()
        self._looking_back: set[str] = set()

    def run_ended(self, session: Session, first: int, last: int) -> None:
        """The session has a finished run whose events are ``first`` to ``last``."""
        self._due.append(_Due(_now() + self._window, session.id, first, last))

    def loaded(self, session: Session) -> None:
        """The session came into memory, perhaps with runs in its log that nobody here knows of."""
        last = session.run_base.seq
        if last and session.id not in self._looking_back:
            self._looking_back.add(session.id)
            self._due.append(_Due(_now() + self._window, session.id, None, last))

    async def work(self) -> None:
        """Folds what is due. Raises Unavailable; what was not folded then stays due."""
        now = _now()
        for _ in range(PER_TURN):
            if not self._due or self._due[0].at > now:
                return
            await self._fold(self._due[0])
            done = self._due.popleft()
            if done.first is None:
                self._looking_back.discard(done.session)

    async def _fold(self, due: _Due) -> None:
        try:
            if due.first is None:
                await self._look_back(due.session, due.last)
            else:
                await compact_run(self._store, due.session, first=due.first, last=due.last)
        except NotFound:
            return
        except Unavailable:
            raise
        except Exception:
            # Tried again it would fail again, and keep all others waiting.
            logger.exception("the log of session %s could not be folded", due.session)

    async def _look_back(self, session: str, last: int) -> None:
        """Folds page by page, newest first, up to one with nothing to fold."""
        before = last + 1
        while True:
            page = await self._store.read_back(session, before=before)
            kept = merge(page)
            if len(kept) == len(page):
                return
            first, last = page[0].seq, page[-1].seq
            await self._store.compact(session, first=first, last=last, records=kept)
            if len(page) < PAGE:
                return
            before = first


def _now() -> float:
    return asyncio.get_running_loop().time()

"""Compaction: folds the adjacent deltas of finished runs once their replay window has passed."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

import msgspec

from ..errors import NotFound, Unavailable
from ..protocol.codec import Record
from ..protocol.merge import merge
from ..store import PAGE, Store
from .session import Session

logger: Final = logging.getLogger("agentws")

PER_TURN: Final = 100
"""Logs that are folded in one turn, so that other housekeeping is not delayed for long."""


class _Due(msgspec.Struct, frozen=True, gc=False):
    at: float
    session: str
    first: int | None
    """``None`` for all events up to ``last``."""
    last: int


class Compactions:
    """A schedule of the logs to compact.

    The schedule is in memory only, so a process that ends loses it. Therefore a loaded session is
    scheduled, too: what its log had then is compacted once every run in it must be out of its
    replay window.
    """

    def __init__(self, store: Store, *, window: float) -> None:
        self._store = store
        self._window = window
        self._due: deque[_Due] = deque()
        self._loaded_due: set[str] = set()

    def run_ended(self, session: Session, first: int, last: int, now: float) -> None:
        """Schedules a finished run, whose events are ``first`` to ``last``.

        ``now``: in seconds of the loop's clock.
        """
        self._due.append(_Due(now + self._window, session.id, first, last))

    def loaded(self, session: Session) -> None:
        """Schedules what is in the log of a session that was loaded into memory."""
        last = session.run_base.seq
        if last and session.id not in self._loaded_due:
            self._loaded_due.add(session.id)
            self._due.append(_Due(_now() + self._window, session.id, None, last))

    async def work(self) -> None:
        """Compacts what is due. Raises Unavailable; the rest then stays scheduled."""
        now = _now()
        for _ in range(PER_TURN):
            if not self._due or self._due[0].at > now:
                return
            await self._compact(self._due[0])
            done = self._due.popleft()
            if done.first is None:
                self._loaded_due.discard(done.session)

    async def _compact(self, due: _Due) -> None:
        try:
            if due.first is None:
                await self._compact_older(due.session, due.last)
            else:
                await compact_run(self._store, due.session, first=due.first, last=due.last)
        except NotFound:
            return
        except Unavailable:
            raise
        except Exception:
            # A retry would fail again and block all others.
            logger.exception("the log of session %s could not be compacted", due.session)

    async def _compact_older(self, session: str, last: int) -> None:
        """Compacts page by page, the newest first, until a page has nothing to fold."""
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


async def compact_run(store: Store, session: str, *, first: int, last: int) -> None:
    """Folds the adjacent deltas of a finished run, whose events are ``first`` to ``last``.

    A delta never moves past an event that stays: a client's position may be at that event.
    """
    records: list[Record] = []
    before = last + 1
    while before > first:
        page = await store.read_back(session, before=before)
        records[:0] = [record for record in page if record.seq >= first]
        if len(page) < PAGE:
            break
        before = page[0].seq
    kept = merge(records)
    if len(kept) < len(records):
        await store.compact(session, first=first, last=last, records=kept)


def _now() -> float:
    return asyncio.get_running_loop().time()

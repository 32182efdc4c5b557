"""What a node does now and then, whatever its clients do."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from ..errors import AgentwsError
from ..limits import Limits
from ..runs.engine import Runs
from ..sessions.compaction import Compactions
from ..sessions.registry import Sessions
from ..store import Store
from ..tasks.tasks import Tasks

logger: Final = logging.getLogger("agentws")

HOUSEKEEPING: Final = 1.0
"""Seconds between looks at what is idle, lost or waiting."""
RENEWALS: Final = 5
"""How often a lease is renewed within its time: some of them may fail."""


class Housekeeping:
    """Renews leases, and looks for what is idle, lost, waiting, unheard, due or too old."""

    def __init__(
        self,
        *,
        store: Store,
        sessions: Sessions,
        runs: Runs,
        compactions: Compactions,
        limits: Limits,
        delete: Callable[[str], Awaitable[None]],
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._runs = runs
        self._compactions = compactions
        self._limits = limits
        self._delete = delete
        self._recover_at = 0.0

    def begin(self, tasks: Tasks) -> None:
        """Goes on in ``tasks`` until they are closed."""
        self._recover_at = 0.0
        pause = min(HOUSEKEEPING, self._limits.poll_interval)
        tasks.spawn(_repeat(self._turn, every=pause), name="housekeeping")
        # By itself: a lease that waits for a long turn of the rest would be lost meanwhile.
        renewing = _repeat(self._runs.renew, every=self._limits.lease_ttl / RENEWALS)
        tasks.spawn(renewing, name="lease renewal")

    async def _turn(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._recover_at:
            self._recover_at = now + self._limits.lease_ttl / RENEWALS
            await self._runs.recover()
        await self._sessions.poll()
        await self._runs.sweep()
        self._sessions.sweep(busy=self._runs.holds)
        await self._compactions.work()
        await self._retain()

    async def _retain(self) -> None:
        if self._limits.session_retention is None:
            return
        before = time.time() - self._limits.session_retention
        for id in await self._store.stale(updated_before=before):
            await self._delete(id)


async def _repeat(work: Callable[[], Awaitable[None]], *, every: float) -> None:
    while True:
        try:
            await work()
        except AgentwsError as error:
            logger.warning("housekeeping: %s", error)
        except Exception:
            logger.exception("housekeeping failed")
        await asyncio.sleep(every)

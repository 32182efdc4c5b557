"""Periodic work of a node: lease renewal, recovery, polling, eviction, compaction, retention."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from ..attachments.library import SWEPT, Files
from ..errors import AgentwsError
from ..limits import Limits
from ..runs.engine import Runs
from ..runs.recovery import SCAN
from ..runs.renewing import RENEWALS
from ..sessions.compaction import Compactions
from ..sessions.registry import Sessions
from ..sessions.topics import Topics
from ..store import Store
from ..tasks.tasks import Tasks
from .retention import Retention

logger: Final = logging.getLogger("agentws")

HOUSEKEEPING: Final = 1.0
"""Seconds between two rounds of everything but lease renewal and recovery."""
JITTER: Final = 0.5
"""The part of the pause between two scans that is random, so that nodes scan at different times."""
MAINTENANCE: Final = 0.1
"""Seconds of a round for the store's own work, such as the search index of an old file."""
FILE_SWEEP: Final = 60.0
"""Seconds between two sweeps of files that no message was sent with."""


class Housekeeping:
    """Runs the periodic work in the background.

    Besides the renewal of leases and the recovery of orphaned runs: a round polls for appends whose
    bell was lost, releases the leases of idle sessions, evicts idle sessions from memory, compacts
    logs, trims topics, deletes expired sessions and files, and gives the store time for its own
    work.
    """

    def __init__(
        self,
        *,
        store: Store,
        sessions: Sessions,
        topics: Topics,
        runs: Runs,
        compactions: Compactions,
        retention: Retention,
        limits: Limits,
        files: Files | None = None,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._topics = topics
        self._runs = runs
        self._compactions = compactions
        self._retention = retention
        self._limits = limits
        self._files = files
        self._sweep_files_at = 0.0

    def begin(self, tasks: Tasks) -> None:
        """Starts the work; it ends when ``tasks`` are closed."""
        pause = min(HOUSEKEEPING, self._limits.poll_interval)
        tasks.spawn(_repeat(self._round, every=pause), name="housekeeping")
        # In a task of its own: a lease would expire while it waited for a long round.
        renewing = _repeat(self._runs.renewal.renew, every=self._limits.lease_ttl / RENEWALS)
        tasks.spawn(renewing, name="lease renewal")
        # And a takeover would be late.
        often = min(SCAN, self._limits.lease_ttl / RENEWALS)
        tasks.spawn(_repeat(self._runs.recover, every=often, jitter=JITTER), name="recovery")

    async def _round(self) -> None:
        now = asyncio.get_running_loop().time()
        await self._sessions.poll()
        await self._runs.sweep()
        self._sessions.sweep(busy=lambda session: self._runs.holds(session.id))
        await self._topics.work()
        await self._compactions.work()
        await self._retention.work()
        if self._files is not None and now >= self._sweep_files_at:
            self._sweep_files_at = now + FILE_SWEEP
            if await self._files.sweep() == SWEPT:
                self._sweep_files_at = now
        await self._maintain(asyncio.get_running_loop().time() + MAINTENANCE)

    async def _maintain(self, until: float) -> None:
        while await self._store.maintain() and asyncio.get_running_loop().time() < until:
            pass


async def _repeat(
    work: Callable[[], Awaitable[None]], *, every: float, jitter: float = 0.0
) -> None:
    """Repeats ``work`` with pauses of ``every`` seconds, or less by up to that part of it."""
    while True:
        try:
            await work()
        except AgentwsError as error:
            logger.warning("housekeeping: %s", error)
        except Exception:
            logger.exception("housekeeping failed")
        await asyncio.sleep(every * random.uniform(1 - jitter, 1))

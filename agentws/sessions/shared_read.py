"""Coalescing of reads: concurrent callers share one read of the log (single flight)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class SharedRead:
    """Shares reads between callers. A call during a read waits for the next read.

    The read that is under way may have missed the event because of which the caller reads, and may
    fail although the store has recovered. No caller waits for more than two reads, even if the log
    grows all the time.
    """

    __slots__ = ("_asked", "_covered", "_covers", "_reading")

    def __init__(self) -> None:
        self._asked = 0
        self._covered = 0
        """The number of the last call that was served by a finished read."""
        self._covers = 0
        """The number of the last call before the read that is under way."""
        self._reading: asyncio.Future[None] | None = None

    async def run(self, read: Callable[[], Awaitable[None]]) -> None:
        """Returns after a ``read`` that began after this call; raises what that read raised."""
        self._asked += 1
        mine = self._asked
        while self._covered < mine:
            if self._reading is None:
                await self._read(read)
            else:
                await self._wait(self._reading, raises=mine <= self._covers)

    async def _read(self, read: Callable[[], Awaitable[None]]) -> None:
        self._covers = self._asked
        reading = self._reading = asyncio.get_running_loop().create_future()
        try:
            await read()
        except Exception as error:
            reading.set_exception(error)
            reading.exception()
            raise
        else:
            self._covered = self._covers
        finally:
            self._reading = None
            if not reading.done():
                # After a cancellation of this caller, too: then one of the others reads.
                reading.set_result(None)

    async def _wait(self, reading: asyncio.Future[None], *, raises: bool) -> None:
        """Returns at the end of ``reading``; raises its failure if ``raises``."""
        try:
            await asyncio.shield(reading)
        except Exception:
            if raises:
                raise

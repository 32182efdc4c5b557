"""Coalescing of reads: concurrent callers share one read of the log (single flight)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..errors import Unavailable


class SharedRead:
    """Shares reads between callers. A call during a read waits for the next read.

    The read that is under way may have missed the event because of which the caller reads. No
    caller waits for more than two reads, even if the log grows all the time.
    """

    __slots__ = ("_asked", "_covered", "_reading")

    def __init__(self) -> None:
        self._asked = 0
        self._covered = 0
        """The number of the last call that was served by a finished read."""
        self._reading: asyncio.Future[None] | None = None

    async def run(self, read: Callable[[], Awaitable[None]]) -> None:
        """Returns after a ``read`` that began after this call; raises what that read raised."""
        self._asked += 1
        mine = self._asked
        while self._covered < mine:
            if self._reading is None:
                await self._read(read)
            else:
                await asyncio.shield(self._reading)

    async def _read(self, read: Callable[[], Awaitable[None]]) -> None:
        covers = self._asked
        reading = self._reading = asyncio.get_running_loop().create_future()
        try:
            await read()
        except BaseException as error:
            # Callers that wait for this read must fail, too. The cancellation of the caller that
            # reads is not theirs: they get Unavailable.
            self._reading = None
            reading.set_exception(error if isinstance(error, Exception) else Unavailable())
            reading.exception()
            raise
        self._covered = covers
        self._reading = None
        reading.set_result(None)

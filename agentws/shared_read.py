"""One read at a time for everybody who wants to be up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from .errors import Unavailable


class SharedRead:
    """Shares reads between callers: who asks during a read waits for the next one.

    A read that had begun before may have missed what the caller knows of. No caller waits for more
    than two reads, however often others ask meanwhile: a log that always grows starves nobody.
    """

    __slots__ = ("_asked", "_covered", "_reading")

    def __init__(self) -> None:
        self._asked = 0
        self._covered = 0
        """All calls up to this one have what they asked for."""
        self._reading: asyncio.Future[None] | None = None

    async def join(self, read: Callable[[], Awaitable[None]]) -> None:
        """Returns after a ``read`` that began after this was called, or raises what it raised."""
        self._asked += 1
        mine = self._asked
        while self._covered < mine:
            if self._reading is None:
                await self._run(read)
            else:
                await asyncio.shield(self._reading)

    async def _run(self, read: Callable[[], Awaitable[None]]) -> None:
        covers = self._asked
        reading = self._reading = asyncio.get_running_loop().create_future()
        try:
            await read()
        except BaseException as error:
            # Who waits for this read knows no more than before, and must be told so; that the
            # reader was cancelled is its own affair.
            self._reading = None
            reading.set_exception(error if isinstance(error, Exception) else Unavailable())
            reading.exception()
            raise
        self._covered = covers
        self._reading = None
        reading.set_result(None)

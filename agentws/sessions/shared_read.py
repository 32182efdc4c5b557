"""One read at a time, shared by all callers that want to be up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..errors import Unavailable


class SharedRead:
    """Shares reads between callers: a caller that comes during a read waits for the next one.

    The read that is under way may have missed what that caller knows of. No caller waits for more
    than two reads, however many others come meanwhile, so a log that always grows starves nobody.
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
            # Callers that wait for this read know no more than before, and must be told so; where
            # its reader was cancelled, that is no cancellation of theirs.
            self._reading = None
            reading.set_exception(error if isinstance(error, Exception) else Unavailable())
            reading.exception()
            raise
        self._covered = covers
        self._reading = None
        reading.set_result(None)

"""Starts a gateway together with its host, which starts even while the store is down.

A host serves more than this gateway: an outage of the store must not take the host down. The
gateway then tries again in the background, answers ``unavailable`` and is not ready meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from ..errors import Misconfigured, Unavailable
from ..tasks.tasks import new_task

logger: Final = logging.getLogger("agentws")

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 5.0
"""Seconds before the second try, and before any later one at most. With jitter, since many nodes
may wait for the same store."""
START_TIMEOUT: Final = 20.0
"""Seconds that the host's start waits for the first try."""
RETRY_AFTER: Final = 2.0
"""What clients are told, in seconds, while the gateway is not started."""


class Starting:
    """Tries to start until it succeeds. ``start`` is one try."""

    def __init__(self, start: Callable[[], Awaitable[None]]) -> None:
        self._start = start
        self._task: asyncio.Task[None] | None = None
        self._logged = ""

    def check(self) -> None:
        """Raises Unavailable while a start is tried in the background, without waiting for it."""
        task = self._task
        if task is not None and not task.done() and not task.get_loop().is_closed():
            raise Unavailable("The server is starting.", retry_after=RETRY_AFTER)

    async def begin(self) -> None:
        """Returns when the gateway has started, or is tried again in the background.

        Raises Misconfigured, and whatever else is not an outage: a retry would not help.
        """
        first = asyncio.get_running_loop().create_future()
        self._task = new_task(self._try_until_started(first), name="starting")
        try:
            await asyncio.wait([first], timeout=START_TIMEOUT)
        except BaseException:
            await self.end()
            raise
        if first.done():
            first.result()

    async def end(self) -> None:
        """Stops trying."""
        task, self._task = self._task, None
        if task is not None and not task.done() and not task.get_loop().is_closed():
            task.cancel()
            await asyncio.wait([task])

    async def _try_until_started(self, first: asyncio.Future[None]) -> None:
        pause = FIRST_PAUSE
        while not await self._try(first):
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _try(self, first: asyncio.Future[None]) -> bool:
        """Whether to stop trying. The outcome of the first try is set on ``first``."""
        try:
            await self._start()
        except Exception as error:
            if first.done():
                self._log_once(logging.ERROR, "the gateway can't start, and tries again", error)
                return False
            if isinstance(error, Unavailable) and not isinstance(error, Misconfigured):
                self._log_once(logging.WARNING, "the gateway is not ready, and tries again", error)
                first.set_result(None)
                return False
            first.set_exception(error)
            return True
        self._logged = ""
        if first.done():
            logger.warning("the gateway has started")
        else:
            first.set_result(None)
        return True

    def _log_once(self, level: int, what: str, error: Exception) -> None:
        """Not again for every try, while the reason is the same."""
        if str(error) != self._logged:
            self._logged = str(error)
            logger.log(level, "%s: %s", what, error)

"""Starting and stopping, whoever asks for it, how often, and at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from .errors import Draining
from .tasks import new_task

State = Literal["new", "started", "draining", "stopped"]
Step = Callable[[], Coroutine[Any, Any, None]]


class Lifetime:
    """New, started, draining, stopped; and started again only by who says so."""

    def __init__(self, *, begin: Step, drain: Step, close: Step) -> None:
        self._begin = begin
        self._drain = drain
        self._close = close
        self._state: State = "new"
        self._draining: asyncio.Task[None] | None = None
        self._lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    def __repr__(self) -> str:
        return f"<Lifetime {self._state}>"

    @property
    def started(self) -> bool:
        return self._state in ("started", "draining")

    @property
    def draining(self) -> bool:
        """From the beginning of a drain on, until a new start."""
        return self._state in ("draining", "stopped")

    async def start(self, *, again: bool) -> None:
        """Raises Draining where it was stopped, unless it is to start ``again``."""
        if self.started and not (again and self.draining):
            return
        self._check(again)
        async with self._changing():
            # It may have been stopped while this waited.
            self._check(again)
            if again and self.draining:
                await self._finish()
            if not self.started:
                self._draining = None
                # What is started here outlives the request that came first, and its context.
                await new_task(self._begin(), name="start")
                self._state = "started"

    def _check(self, again: bool) -> None:
        if self._state == "stopped" and not again:
            raise Draining(retry_after=1.0)

    async def drain(self) -> None:
        """Whoever asks for it while it goes on waits for the same one."""
        if self._state == "started":
            self._state = "draining"
            self._draining = new_task(self._drain(), name="drain")
        if self._draining is not None:
            await asyncio.shield(self._draining)

    async def stop(self) -> None:
        """Drains and closes. Twice, or before a start, it does nothing."""
        async with self._changing():
            await self._finish()

    async def _finish(self) -> None:
        if not self.started:
            return
        try:
            await self.drain()
        finally:
            self._state = "stopped"
            await self._close()

    def _changing(self) -> asyncio.Lock:
        """Held while the state changes. A lock belongs to one loop; lifespans may have several."""
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock[0] is not loop:
            self._lock = loop, asyncio.Lock()
        return self._lock[1]

"""Starting and stopping, whoever asks for it, how often, and at the same time; on one event loop.

What a started gateway holds (tasks, futures, locks) belongs to the loop on which it was started, so
this is the one place that looks at loops. A loop that is closed has taken all of it along: who
comes next, on another one, begins a new life. A loop that is not closed keeps the gateway to
itself, and whoever comes on another is told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal

from ..errors import Draining, WrongLoop
from ..tasks.tasks import new_task

State = Literal["new", "starting", "started", "draining", "stopped"]
Step = Callable[[], Coroutine[Any, Any, None]]

ONE_LOOP: Final = (
    "all of them on the loop where it was started: in tests `with TestClient(app) as client`, or "
    "one loop scope for the app and its tests"
)


class Lifetime:
    """New, started, draining, stopped; and started again only by who says so.

    ``abandon`` lets go of what a closed loop has left, and is followed by ``begin``, or by the end.
    """

    def __init__(self, *, begin: Step, drain: Step, close: Step, abandon: Step) -> None:
        self._begin = begin
        self._drain = drain
        self._close = close
        self._abandon = abandon
        self._state: State = "new"
        self._draining: asyncio.Task[None] | None = None
        self._lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left_over = False
        """Whether a closed loop has left something that was not closed."""

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
        """Raises Draining where it was stopped, unless it is to start ``again``; WrongLoop."""
        self._check_loop()
        if self.started and not (again and self.draining):
            return
        self._check(again)
        async with self._changing():
            # It may have been stopped while this waited, or started on another loop.
            self._check_loop()
            self._check(again)
            if again and self.draining:
                await self._finish()
            if not self.started:
                await self._start()

    async def _start(self) -> None:
        before, self._draining = self._state, None
        self._state, self._loop = "starting", asyncio.get_running_loop()
        try:
            await self._clear()
            # What is started here outlives the request that came first, and its context.
            await new_task(self._begin(), name="start")
        except BaseException:
            self._state, self._loop = before, None
            raise
        self._state = "started"

    def _check(self, again: bool) -> None:
        if self._state == "stopped" and not again:
            raise Draining(retry_after=1.0)

    async def drain(self) -> None:
        """Whoever asks for it while it goes on waits for the same one."""
        self._check_loop()
        if self._state == "started":
            self._state = "draining"
            self._draining = new_task(self._drain(), name="drain")
        if self._draining is not None:
            await asyncio.shield(self._draining)

    async def stop(self) -> None:
        """Drains and closes. Twice, or before a start, it does nothing."""
        self._check_loop()
        async with self._changing():
            await self._clear()
            await self._finish()

    async def _finish(self) -> None:
        if not self.started:
            return
        try:
            await self.drain()
        finally:
            self._state = "stopped"
            await self._close()

    # Loops

    def _check_loop(self) -> None:
        """Forgets a life whose loop is closed. Raises WrongLoop for one that is not."""
        loop = _running_loop()
        if self._loop is loop or self._loop is None:
            return
        if self._loop.is_closed():
            self._left_over = self._left_over or self._state not in ("new", "stopped")
            self._state, self._loop, self._draining = "new", None, None
        elif self._state not in ("new", "stopped"):
            raise WrongLoop(expected=ONE_LOOP)

    async def _clear(self) -> None:
        if self._left_over:
            await self._abandon()
            self._left_over = False

    def _changing(self) -> asyncio.Lock:
        """Held while the state changes. A lock belongs to one loop; lifespans may have several."""
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock[0] is not loop:
            self._lock = loop, asyncio.Lock()
        return self._lock[1]


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise WrongLoop("This gateway is called without asyncio.", expected="asyncio") from None

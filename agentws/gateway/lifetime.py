"""The states of a gateway: new, starting, started, draining, stopped; all on one event loop.

Starts and stops may be called by several tasks, repeatedly and at the same time. What a started
gateway holds (tasks, futures, locks) belongs to the event loop on which it was started, and only
this module looks at loops. If that loop was closed, the next call on another loop starts the
gateway anew. If it was not closed, a call on another loop raises WrongLoop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from ..errors import Draining, WrongLoop
from ..tasks.tasks import new_task

Step = Callable[[], Coroutine[Any, Any, None]]

ONE_LOOP: Final = (
    "all calls on the event loop that started it: in tests `with TestClient(app) as client`, or "
    "one loop scope for the app and its tests"
)


class State(msgspec.Struct, frozen=True):
    """One of the states, and what holds in it."""

    name: str
    started: bool = False
    """Whether the store and the bus are open."""
    draining: bool = False
    """Whether new work is refused: from the beginning of a drain until the next start."""


NEW: Final = State("new")
STARTING: Final = State("starting")
STARTED: Final = State("started", started=True)
DRAINING: Final = State("draining", started=True, draining=True)
STOPPED: Final = State("stopped", draining=True)


class Lifetime:
    """The state machine. A stopped gateway starts again only by ``start(again=True)``.

    ``abandon`` releases what a closed loop has left behind, before ``begin`` or before a stop.
    """

    def __init__(self, *, begin: Step, drain: Step, close: Step, abandon: Step) -> None:
        self._begin = begin
        self._drain = drain
        self._close = close
        self._abandon = abandon
        self.state = NEW
        self._draining: asyncio.Task[None] | None = None
        self._lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left_over = False
        """Whether the gateway was not stopped before its event loop was closed."""

    def __repr__(self) -> str:
        return f"<Lifetime {self.state.name}>"

    async def start(self, *, again: bool) -> None:
        """Raises Draining if it was stopped, unless ``again``; raises WrongLoop."""
        self._check_loop()
        if self.state.started and not (again and self.state.draining):
            return
        self._check_stopped(again)
        async with self._state_lock():
            # Again: the state may have changed while this task waited for the lock.
            self._check_loop()
            self._check_stopped(again)
            if again and self.state.draining:
                await self._finish()
            if not self.state.started:
                await self._start()

    async def _start(self) -> None:
        before, self._draining = self.state, None
        self.state, self._loop = STARTING, asyncio.get_running_loop()
        try:
            await self._abandon_left_over()
            # In a task of its own, with its own context: it outlives the first request.
            await new_task(self._begin(), name="start")
        except BaseException:
            self.state, self._loop = before, None
            raise
        self.state = STARTED

    def _check_stopped(self, again: bool) -> None:
        if self.state is STOPPED and not again:
            raise Draining(retry_after=1.0)

    async def drain(self) -> None:
        """Drains once; a second call waits for the first one."""
        self._check_loop()
        if self.state is STARTED:
            self.state = DRAINING
            self._draining = new_task(self._drain(), name="drain")
        if self._draining is not None:
            await asyncio.shield(self._draining)

    async def stop(self) -> None:
        """Drains and closes. A second call, or a call before a start, does nothing."""
        self._check_loop()
        async with self._state_lock():
            await self._abandon_left_over()
            await self._finish()

    async def _finish(self) -> None:
        if not self.state.started:
            return
        try:
            await self.drain()
        finally:
            self.state = STOPPED
            await self._close()

    # Event loops

    def _check_loop(self) -> None:
        """Resets the state if its loop is closed. Raises WrongLoop if another loop still has it."""
        loop = _running_loop()
        if self._loop is loop or self._loop is None:
            return
        if self._loop.is_closed():
            self._left_over = self._left_over or self.state not in (NEW, STOPPED)
            self.state, self._loop, self._draining = NEW, None, None
        elif self.state not in (NEW, STOPPED):
            raise WrongLoop(expected=ONE_LOOP)

    async def _abandon_left_over(self) -> None:
        if self._left_over:
            await self._abandon()
            self._left_over = False

    def _state_lock(self) -> asyncio.Lock:
        """Held while the state changes. An asyncio lock belongs to one loop: each loop has one."""
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock[0] is not loop:
            self._lock = loop, asyncio.Lock()
        return self._lock[1]


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise WrongLoop("This gateway is called without asyncio.", expected="asyncio") from None

"""Detects that the server shuts down, before it ends the application's lifespan.

uvicorn closes every connection at the moment of the signal, and ends its application's lifespan
afterwards. It waits for every response before that, and an event stream (SSE) has no end of its
own: each would wait for the other, and ``uvicorn --reload`` would never reload. So the gateway
takes the place of uvicorn's handler of the signal: it drains first, and passes the signal on then.
Where it can't, it polls the server's ``should_exit`` flag and drains early.

The server object is found through its handler of SIGTERM, which is a bound method of it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ..tasks.tasks import Tasks

logger: Final = logging.getLogger("agentws")

POLL_INTERVAL: Final = 0.2
"""Seconds between two reads of the flag."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
DRAINS: Final = "drains"
"""An attribute of a server that drains its application before it closes connections: the list of
what it awaits."""

Drain = Callable[[], Awaitable[None]]


def server_exiting() -> Callable[[], bool] | None:
    """Returns a function that reads the exit flag of this process's uvicorn; ``None`` without one.

    uvicorn handles signals in the main thread only; in another thread it is not found.
    """
    server = _server_of(signal.getsignal(signal.SIGTERM))
    if server is None:
        return None
    return lambda: bool(getattr(server, "should_exit", False))


def _server_of(handler: object) -> Any:
    """The uvicorn server with this handler of signals, or ``None``."""
    owner = getattr(handler, "__self__", None)
    if isinstance(owner, DrainOnSignal):
        return owner.server
    return owner if isinstance(getattr(owner, "should_exit", None), bool) else None


class DrainOnSignal:
    """Handles SIGTERM and SIGINT in place of uvicorn: drains, then lets uvicorn shut down.

    A second signal ends the server at once. Several gateways of one process share the handler.
    """

    def __init__(self, server: Any, loop: asyncio.AbstractEventLoop, tasks: Tasks) -> None:
        self.server = server
        self._loop = loop
        self._tasks = tasks
        self._drains: list[Drain] = []
        self._replaced = {number: signal.getsignal(number) for number in SIGNALS}
        self._begun = False

    def add(self, drain: Drain) -> None:
        self._drains.append(drain)

    def discard(self, drain: Drain) -> None:
        """Ends the handling when no gateway needs it any more."""
        self._drains = [one for one in self._drains if one != drain]
        if not self._drains:
            for number, handler in self._replaced.items():
                if signal.getsignal(number) == self.handle:
                    signal.signal(number, handler)

    def install(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self.handle)

    def handle(self, number: int, frame: Any) -> None:
        """The handler of the signals."""
        if self._begun or self._loop.is_closed():
            self.server.force_exit = self._begun
            self._pass_on(number, frame)
        else:
            self._begun = True
            self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: int) -> None:
        self._tasks.spawn(self._drain_all(number), name="draining before the server ends")

    async def _drain_all(self, number: int) -> None:
        done = await asyncio.gather(*(drain() for drain in self._drains), return_exceptions=True)
        for outcome in done:
            if isinstance(outcome, Exception):
                logger.error("draining failed", exc_info=outcome)
        self._pass_on(number, None)

    def _pass_on(self, number: int, frame: Any) -> None:
        handler = self._replaced[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)


def drain_with_server(drain: Drain, tasks: Tasks) -> Callable[[], None]:
    """Has ``drain`` run when this process's uvicorn shuts down. Returns what ends that."""
    ignore = handle_signals(drain, tasks)
    exiting = server_exiting()
    if exiting is not None:
        tasks.spawn(drain_on_exit(exiting, drain), name="watching the server")
    return ignore


def handle_signals(drain: Drain, tasks: Tasks) -> Callable[[], None]:
    """Has ``drain`` run before this process's uvicorn shuts down. Returns what ends that.

    A server that drains itself is only told of ``drain``, as the lifespan may not run. Does nothing
    in another thread than the main one, and where another program handles the signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return _nothing
    handler = signal.getsignal(signal.SIGTERM)
    server = _server_of(handler)
    if server is None:
        return _nothing
    drains: list[Drain] | None = getattr(server, DRAINS, None)
    if drains is not None:
        return _listed(drain, drains)
    shared = getattr(handler, "__self__", None)
    if not isinstance(shared, DrainOnSignal):
        shared = DrainOnSignal(server, asyncio.get_running_loop(), tasks)
        shared.install()
    shared.add(drain)
    return lambda: shared.discard(drain)


def _listed(drain: Drain, drains: list[Drain]) -> Callable[[], None]:
    """Adds ``drain`` to ``drains``, unless a lifespan has. Returns what removes it."""
    if drain in drains:
        return _nothing
    drains.append(drain)

    def remove() -> None:
        drains[:] = [one for one in drains if one != drain]

    return remove


def _nothing() -> None:
    pass


async def drain_on_exit(exiting: Callable[[], bool], drain: Drain) -> None:
    """Calls ``drain`` once, at most POLL_INTERVAL after ``exiting`` has become true."""
    while not exiting():  # noqa: ASYNC110 - a plain attribute of the server: no event to wait for
        await asyncio.sleep(POLL_INTERVAL)
    await drain()

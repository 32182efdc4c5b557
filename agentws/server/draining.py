"""A graceful shutdown: the application drains before the server closes its connections.

uvicorn closes connections first and ends the application's lifespan afterwards: clients could not
be told to reconnect elsewhere, and runs would get no time to finish. This server puts a list under
``agentws.drain`` into the lifespan's state; the application appends coroutine functions to it, and
they are awaited first.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType
from typing import Final

import uvicorn

from .buffers import Socket, limit_buffers
from .config import limits_of
from .shared import LIMITED

DRAINS: Final = "agentws.drain"
MIN_RESPONSE_SECONDS: Final = 1
"""Seconds that responses in progress get after a drain, however long the drain took."""
FORCED_SECONDS: Final = 1.0
"""Seconds that a process gets to end after a second signal: its event loop may be blocked."""
ENDING_SECONDS: Final = 1.0
"""Seconds that tasks which ignore their cancellation get, once everything else has ended."""

logger: Final = logging.getLogger("uvicorn.error")


class Server(uvicorn.Server):
    """uvicorn's server with a drain: stops listening, drains the application, then closes.

    The seconds of the drain count towards ``timeout_graceful_shutdown``. A second signal, SIGTERM
    or SIGINT, ends both, and the process.
    """

    drains: list[Callable[[], Awaitable[None]]]
    """What is awaited first. An application whose lifespan does not run finds the list here: this
    object is the owner of the handler of signals."""
    _ending: threading.Timer | None = None
    _has_process = False
    """Whether the process ends with this server; else the program around it goes on."""

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        self._has_process = True
        try:
            super().run(sockets)
        finally:
            if self._ending is not None:
                self._ending.cancel()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().serve(sockets)
        finally:
            if self._captured_signals:
                # asyncio waits for every task, also for one that ignores its cancellation.
                self._end_within(ENDING_SECONDS, self._captured_signals[-1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
            self._end_within(FORCED_SECONDS, sig)
        super().handle_exit(sig, frame)

    def _end_within(self, seconds: float, sig: int) -> None:
        if self._has_process and self._ending is None:
            self._ending = threading.Timer(seconds, os._exit, (128 + signal.Signals(sig),))
            self._ending.daemon = True
            self._ending.start()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.drains = self.lifespan.state[DRAINS] = []
        # Before the application starts: clients connect to an open socket meanwhile.
        self._limit_buffers(sockets or ())
        await super().startup(sockets=sockets)
        # Every request gets a copy of the state; the list is for the lifespan alone.
        self.lifespan.state.pop(DRAINS, None)
        if not sockets:
            self._limit_buffers([one for server in self.servers for one in server.sockets])
        setattr(self.server_state, LIMITED, True)

    def _limit_buffers(self, listeners: Sequence[Socket]) -> None:
        """Bound the buffers of the listeners: those of their connections are the same."""
        limits = limits_of(self.config)
        for listener in listeners:
            limit_buffers(listener, limits)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.gather(*(self._wait_for(drain) for drain in self.drains))
        timeout = self.config.timeout_graceful_shutdown
        if timeout is not None:
            left = timeout - round(loop.time() - started)
            self.config.timeout_graceful_shutdown = max(MIN_RESPONSE_SECONDS, left)
        await super().shutdown(sockets)

    async def _wait_for(self, drain: Callable[[], Awaitable[None]]) -> None:
        draining = asyncio.ensure_future(drain())
        while not draining.done() and not self.force_exit:
            await asyncio.wait({draining}, timeout=0.1)
        if not draining.done():
            draining.cancel()
        elif not draining.cancelled() and draining.exception() is not None:
            logger.error("Draining the application failed", exc_info=draining.exception())

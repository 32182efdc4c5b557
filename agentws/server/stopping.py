"""A server that lets its application say goodbye before it closes connections.

uvicorn closes them first and ends the application's lifespan afterwards: nobody would be left to
be told where to go, and no run would get its time. An application that finds a list under
``agentws.drain`` in its lifespan's state appends what is to be awaited instead.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import uvicorn

DRAINS: Final = "agentws.drain"
LEAST: Final = 1
"""Seconds that responses under way have after a drain, however long that took."""

logger: Final = logging.getLogger("uvicorn.error")


class Server(uvicorn.Server):
    """uvicorn's server; on a shutdown it stops listening, drains the application, then closes.

    What the drain takes counts towards ``timeout_graceful_shutdown``. A second Ctrl-C ends both.
    """

    _drains: list[Callable[[], Awaitable[None]]]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._drains = self.lifespan.state[DRAINS] = []
        await super().startup(sockets=sockets)
        # Requests get a copy of the state.
        self.lifespan.state.pop(DRAINS, None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await asyncio.gather(*(self._wait_for(drain) for drain in self._drains))
        given = self.config.timeout_graceful_shutdown
        if given is not None:
            left = given - round(loop.time() - begun)
            self.config.timeout_graceful_shutdown = max(LEAST, left)
        await super().shutdown(sockets)

    async def _wait_for(self, drain: Callable[[], Awaitable[None]]) -> None:
        draining = asyncio.ensure_future(drain())
        while not draining.done() and not self.force_exit:
            await asyncio.wait({draining}, timeout=0.1)
        if not draining.done():
            draining.cancel()
        elif not draining.cancelled() and draining.exception() is not None:
            logger.error("The application could not be drained", exc_info=draining.exception())

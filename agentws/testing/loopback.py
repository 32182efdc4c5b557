"""Serves a test's ASGI app on a free loopback port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import uvicorn
from starlette.applications import Starlette


class LoopServer(uvicorn.Server):
    """uvicorn on the event loop of a test, without the waits of 0.1 seconds that add up there."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    async def main_loop(self) -> None:
        await self.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in tuple(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0.001)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
        else:
            await self.lifespan.shutdown()

    def capture_signals(self) -> Any:
        # Leaves the signal handlers of the test process alone.
        return nullcontext()


def listening_socket() -> socket.socket:
    """A listening socket on a free loopback port."""
    one = socket.create_server(("127.0.0.1", 0))
    # asyncio sets this for sockets that it made. Without it, each piece of a stream takes 40 ms.
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """Serves ``app`` for as long as ``async with`` lasts; gives its URL."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    async with listening(config) as host:
        yield f"http://{host}"


@asynccontextmanager
async def listening(config: uvicorn.Config) -> AsyncIterator[str]:
    """Serves with ``config`` for as long as ``async with`` lasts; gives host and port."""
    listener = listening_socket()
    server = LoopServer(config)
    # No task group: it would wrap what the test raises in an exception group.
    running = asyncio.create_task(server.serve([listener]))
    try:
        # The socket listens already: a client may connect before the server accepts.
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.stopping.set()
        await running

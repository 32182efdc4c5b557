"""Serves a test's ASGI app on a free loopback port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import uvicorn
from starlette.applications import Starlette


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    async def main_loop(self) -> None:
        # uvicorn's own loop polls for a stop, which adds up over many tests.
        await self.stopping.wait()

    def capture_signals(self) -> Any:
        # Leaves the signal handlers of the test process alone.
        return nullcontext()


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """Serves ``app`` for as long as ``async with`` lasts; gives its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    # asyncio sets this for sockets that it made. Without it, each piece of a stream takes 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    # No task group: it would wrap what the test raises in an exception group.
    running = asyncio.create_task(server.serve([listener]))
    try:
        # The socket listens already: a client may connect before the server accepts.
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.stopping.set()
        await running

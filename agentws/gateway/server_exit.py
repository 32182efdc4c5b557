"""Detects that the server shuts down, before it ends the application's lifespan.

uvicorn waits for every response before it ends its application's lifespan, and an event stream
(SSE) has no end of its own. Each would wait for the other, and ``uvicorn --reload`` would never
reload. So the gateway polls the server's ``should_exit`` flag and drains early. The server object
is found through its handler of SIGTERM, which is a bound method of it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Final

POLL_INTERVAL: Final = 0.2
"""Seconds between two reads of the flag."""


def server_exiting() -> Callable[[], bool] | None:
    """Returns a function that reads the exit flag of this process's uvicorn; ``None`` without one.

    uvicorn handles signals in the main thread only; in another thread it is not found.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if not isinstance(getattr(server, "should_exit", None), bool):
        return None
    return lambda: bool(getattr(server, "should_exit", False))


async def drain_on_exit(exiting: Callable[[], bool], drain: Callable[[], Awaitable[None]]) -> None:
    """Calls ``drain`` once, at most POLL_INTERVAL after ``exiting`` has become true."""
    while not exiting():  # noqa: ASYNC110 - a plain attribute of the server: no event to wait for
        await asyncio.sleep(POLL_INTERVAL)
    await drain()

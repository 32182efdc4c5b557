"""Noticing early that the server is to end.

uvicorn waits for every response before it ends its application's lifespan, and a stream of events
has no end of its own: each would wait for the other, and ``uvicorn --reload`` would never reload.
So its server is asked, as long as it runs: the handler of its signals is a method of it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Final

LOOKS: Final = 0.2
"""Seconds between looks."""


def server_exiting() -> Callable[[], bool] | None:
    """What says whether the uvicorn around this process's loop is to end; ``None`` without one.

    In another thread than the main one uvicorn handles no signals, and is not found.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if not isinstance(getattr(server, "should_exit", None), bool):
        return None
    return lambda: bool(getattr(server, "should_exit", False))


async def when(exiting: Callable[[], bool], leave: Callable[[], Awaitable[None]]) -> None:
    """Calls ``leave`` once, soon after ``exiting`` has become true."""
    while not exiting():  # noqa: ASYNC110 - an attribute of the server, which wakes nobody
        await asyncio.sleep(LOOKS)
    await leave()

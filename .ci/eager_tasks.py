"""Sets an eager task factory on every event loop of a process, as some hosts do."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Coroutine
from typing import Any


def install() -> None:
    """Patches ``asyncio.Runner``. Raises RuntimeError before Python 3.12.

    ``asyncio.run``, uvicorn, anyio and its pytest plugin all run their loops, also those of uvloop,
    through ``asyncio.Runner``.
    """
    if sys.version_info < (3, 12):
        raise RuntimeError("asyncio.eager_task_factory needs Python 3.12 or newer")
    own_loop, own_run = asyncio.Runner.get_loop, asyncio.Runner.run

    # Like asyncio.eager_task_factory; that of Python 3.13.0 refuses uvloop's arguments.
    def factory(
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any],
        *,
        eager_start: bool | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=loop, eager_start=eager_start is not False, **options)

    def get_loop(self: asyncio.Runner) -> asyncio.AbstractEventLoop:
        loop = own_loop(self)
        loop.set_task_factory(factory)
        return loop

    def run(
        self: asyncio.Runner,
        coro: Coroutine[Any, Any, Any],
        *,
        context: contextvars.Context | None = None,
    ) -> Any:
        self.get_loop()
        return own_run(self, coro, context=context)

    for method in (get_loop, run):
        setattr(asyncio.Runner, method.__name__, method)


async def starts_eagerly() -> bool:
    """Whether a new task runs its first step inside ``create_task``."""
    started = []

    async def child() -> None:
        started.append(True)

    task = asyncio.create_task(child())
    first = bool(started)
    await task
    return first


def check() -> None:
    """Raises AssertionError if ``asyncio.run`` does not start tasks eagerly."""
    assert asyncio.run(starts_eagerly()), "tasks do not start eagerly"

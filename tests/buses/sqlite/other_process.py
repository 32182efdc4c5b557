"""Another process with a bus over the same database: `python other_process.py TASK PATH`."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress

from agentws.backends.sqlite.bus import SQLiteBus


async def answer(bus: SQLiteBus) -> None:
    """Publishes on ``answers`` what it receives on ``questions``, until its input is closed."""
    bus.subscribe("questions", lambda _, payload: bus.publish("answers", payload))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def fork(bus: SQLiteBus) -> None:
    """Forks a child that exits and one that closes the bus; then does the same as ``answer``."""
    in_child(atexit._run_exitfuncs)
    in_child(lambda: without_waiting(bus.close()))
    await answer(bus)


def in_child(work: Callable[[], None]) -> None:
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert status == 0
        return
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


def without_waiting(work: Coroutine[object, object, None]) -> None:
    """Runs ``work`` without an event loop: the child has only a copy of its parent's loop."""
    with suppress(StopIteration):
        work.send(None)
        raise AssertionError("the coroutine waits for something")


async def main(task: str, path: str) -> None:
    bus = SQLiteBus(path)
    await bus.open()
    await {"answer": answer, "fork": fork}[task](bus)
    await bus.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

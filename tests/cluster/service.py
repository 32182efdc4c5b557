"""One node: `python service.py STORE PORT NAME`. Each event of a run names the node that wrote it.

The agent does what the message says: `count N` yields N pieces with a pause after each, `big N`
yields N kilobytes without one, `think SECONDS` is silent before its answer, `step FILE` yields a
piece for each byte that the file gets, `stuck` hangs in its first attempt, and any other text is
answered at once. SKEW is what the node's wall clock is ahead of the others, in seconds. POLL is how
late an event can be whose bell was lost.

Clients are who the header ``X-User`` says, or ``somebody`` without one. SIGUSR1 makes the node
return free memory to the system.
"""

from __future__ import annotations

import asyncio
import ctypes.util
import gc
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from agentws import Agent, Identity, Limits, RunContext, mount_agent_gateway
from agentws.server import serve
from tests.cluster.urls import store_at

LEASE: Final = 2.5
PAUSE: Final = 0.03
PING_TIMEOUT: Final = 3.0
"""Seconds. A test whose event loop works for that long, or gets no core, loses its connections."""
LIMITS: Final = Limits(
    lease_ttl=LEASE,
    poll_interval=0.1,
    idle_poll_interval=0.2,
    drain_timeout=0.5,
    heartbeat=1.0,
    message_rate=1000.0,
    message_burst=1000,
    session_idle=1.0,
    max_runs_per_identity=1000,
    # A title is appended some time after a run: a log without open runs would still grow.
    title_length=0,
)


class Scripted(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        what, _, amount = ctx.text.partition(" ")
        name = sys.argv[3]
        if what == "big":
            for _ in range(int(amount)):
                yield f"{name}: " + "x" * 1000
                await asyncio.sleep(0)
            return
        if what == "step":
            async for number in written(Path(amount)):
                yield f"{name}: {number} "
        if what == "think":
            await asyncio.sleep(float(amount))
        if what == "stuck" and ctx.attempt == 1:
            yield f"{name}: 0 "
            await asyncio.sleep(1e6)
        for number in range(int(amount) if what == "count" else 1):
            yield f"{name}: {number} "
            await asyncio.sleep(PAUSE if what == "count" else 0)


def size(file: Path) -> int:
    return file.stat().st_size


async def written(file: Path) -> AsyncIterator[int]:
    """The number of bytes in the file: 0 at first, and after each byte; without end."""
    number = 0
    while True:
        yield number
        number += 1
        while size(file) < number:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.005)


class Persistent(Scripted):
    """The same, and runs again when its node was lost."""

    attempts = 3


def authenticate(connection: HTTPConnection) -> Identity:
    return Identity(connection.headers.get("x-user", "somebody"))


def trim(*_: object) -> None:
    """Returns free memory to the system, so that what is resident is in use (glibc only)."""
    gc.collect()
    if (name := ctypes.util.find_library("c")) is not None:
        getattr(ctypes.CDLL(name), "malloc_trim", int)(0)


def main() -> None:
    store, port, _ = sys.argv[1:]
    skew, real = float(os.environ.get("SKEW", "0")), time.time
    time.time = lambda: real() + skew
    poll = float(os.environ.get("POLL", LIMITS.poll_interval))
    signal.signal(signal.SIGUSR1, trim)
    app = Starlette()
    agents = {"scripted": Scripted, "persistent": Persistent}
    mount_agent_gateway(
        app,
        agents,
        store=store_at(store),
        limits=msgspec.structs.replace(LIMITS, poll_interval=poll, idle_poll_interval=2 * poll),
        authenticate=authenticate,
        admin_key="the-key",
    )
    serve(app, port=int(port), ws_ping_interval=0.5, ws_ping_timeout=PING_TIMEOUT)


if __name__ == "__main__":
    main()

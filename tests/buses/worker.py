"""One of several workers on one SQLite file: `python worker.py PATH PORT BUS`.

BUS is ``default``, or ``local`` for one that reaches no other process.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import Agent, LocalBus, RunContext, SQLiteStore, mount_agent_gateway
from agentws.server import serve

PIECES = 40
PAUSE = 0.05


class Slow(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        for number in range(PIECES):
            yield f"{number} "
            await asyncio.sleep(PAUSE)


if __name__ == "__main__":
    path, port, bus = sys.argv[1:]
    app = Starlette()
    mount_agent_gateway(
        app,
        Slow,
        store=SQLiteStore(path, synchronous="NORMAL"),
        bus=LocalBus() if bus == "local" else None,
        admin_key="the-key",
        may_subscribe=lambda identity, topic: topic == "news",
    )
    serve(app, port=int(port))

"""One of two workers on one SQLite file: ``python worker.py PATH PORT``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import Agent, Limits, RunContext, SQLiteStore, mount_agent_gateway
from agentws.server import serve


class Trying(Agent):
    """Hangs in its first attempt."""

    attempts = 2

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield f"attempt {ctx.attempt} "
        if ctx.attempt == 1:
            await asyncio.sleep(1e6)
        yield "done"


if __name__ == "__main__":
    path, port = sys.argv[1:]
    app = Starlette()
    store = SQLiteStore(path, synchronous="NORMAL")
    mount_agent_gateway(app, Trying, store=store, limits=Limits(lease_ttl=1.0))
    serve(app, port=int(port))

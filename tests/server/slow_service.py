"""A service with a slow agent, to be stopped: `python slow_service.py PATH PORT`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import Agent, RunContext, SQLiteStore, mount_agent_gateway
from agentws.server import serve


class Slow(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        for number in range(10):
            yield f"{number} "
            await asyncio.sleep(0.05)


app = Starlette()
gateway = mount_agent_gateway(app, Slow, store=SQLiteStore(sys.argv[1]))

if __name__ == "__main__":
    serve(app, port=int(sys.argv[2]))

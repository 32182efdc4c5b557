"""One node of several over one file: `python echo_service.py NAME PATH PORT`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import Agent, Limits, RunContext, SQLiteStore, mount_agent_gateway
from agentws.server import serve


class Echo(Agent):
    """Says what it was told, word by word."""

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        for word in ctx.text.split():
            yield word + " "
            await asyncio.sleep(0.03)


app = Starlette()
gateway = mount_agent_gateway(
    app, Echo, store=SQLiteStore(sys.argv[2]), node=sys.argv[1], limits=Limits(drain_timeout=5.0)
)

if __name__ == "__main__":
    serve(app, port=int(sys.argv[3]))

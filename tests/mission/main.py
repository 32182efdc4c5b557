"""A service as a team writes it: `uvicorn main:app`, or `python main.py` with the preset."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import Agent, RunContext, mount_agent_gateway
from agentws.server import serve


class Echo(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        for word in ctx.text.split():
            yield word + " "


app = Starlette()
gateway = mount_agent_gateway(app, Echo, admin_key="the-admin-key")

if __name__ == "__main__":
    serve(app, port=int(sys.argv[1]))

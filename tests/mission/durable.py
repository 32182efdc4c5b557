"""A service with its sessions in a SQLite file: `python durable.py path port`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import Agent, Limits, RunContext, SQLiteStore, mount_agent_gateway, tool
from agentws.server import serve

PIECES = {"slow": 40, "long": 1000}
"""How many there are of an answer; ``long`` takes so long that its process is lost before."""


@tool(approve=True)
async def pay(amount: int) -> str:
    return f"paid {amount}"


class Slow(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        if ctx.text == "pay":
            yield await ctx.call(pay, amount=5)
            return
        for number in range(PIECES.get(ctx.text, 1)):
            yield f"{number} "
            await asyncio.sleep(0.05)


app = Starlette()
gateway = mount_agent_gateway(
    app,
    Slow,
    store=SQLiteStore(sys.argv[1]),
    limits=Limits(lease_ttl=2.0, poll_interval=0.05, idle_poll_interval=0.1, drain_timeout=0.5),
)

if __name__ == "__main__":
    serve(app, port=int(sys.argv[2]))

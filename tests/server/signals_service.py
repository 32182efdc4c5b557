"""A service to be ended by signals: `python signals_service.py SERVER PATH PORT DRAIN_TIMEOUT`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from agentws import Agent, Limits, RunContext, SQLiteStore, mount_agent_gateway
from agentws.server import serve

END = Path(sys.argv[2]).with_name("end")
"""The run of ``wait`` ends when this file exists."""


class Obeying(Agent):
    """Does what the message says."""

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield "begun "
        match ctx.text:
            case "slow":
                await asyncio.sleep(1.5)
            case "wait":
                while not END.exists():  # noqa: ASYNC110 - another process makes the file
                    await asyncio.sleep(0.01)
            case "hang":
                await asyncio.sleep(600)
            case "flood":
                for _ in range(2000):
                    yield "x" * 4096
                await asyncio.sleep(600)
            case "ignore":
                while True:
                    try:
                        await asyncio.sleep(600)
                    except asyncio.CancelledError:
                        continue
            case "block":
                await asyncio.sleep(0.3)
                # One second each, so that Python runs the handlers of signals.
                for _ in range(600):
                    time.sleep(1)  # noqa: ASYNC251 - the loop is to be blocked
        yield "done"


app = Starlette()
gateway = mount_agent_gateway(
    app,
    Obeying,
    store=SQLiteStore(sys.argv[2]),
    admin_key="the-admin-key",
    limits=Limits(drain_timeout=float(sys.argv[4]), cancel_grace=2.0),
)

if __name__ == "__main__":
    port = int(sys.argv[3])
    match sys.argv[1]:
        case "preset":
            serve(app, port=port)
        case "preset without a lifespan":
            serve(app, port=port, lifespan="off")
        case "preset of a sub-application":
            serve(Starlette(routes=[Mount("/", app)]), port=port)
        case _:
            uvicorn.run(app, port=port, timeout_graceful_shutdown=5)

"""Your own pages: one with a plain WebSocket, one with the client. `python main.py`"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from agentws import RunContext, mount_agent_gateway
from agentws.server import serve


async def storyteller(ctx: RunContext) -> AsyncIterator[str]:
    for word in f"Once upon a time somebody said {ctx.text} and lived happily ever after".split():
        yield word + " "
        await anyio.sleep(0.05)


app = Starlette(
    routes=[
        Mount("/pages", StaticFiles(directory=Path(__file__).parent / "static", html=True)),
        # The client is part of the Python package, so it always matches the server.
        Mount("/agentws", StaticFiles(packages=[("agentws", "web")])),
    ]
)
gateway = mount_agent_gateway(app, storyteller)

if __name__ == "__main__":
    serve(app, port=int(os.environ.get("PORT", "8000")))

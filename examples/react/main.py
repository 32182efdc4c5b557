"""The React hook. `npm install && npm run build && python main.py`, then open /app/."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from agentws import RunContext, mount_agent_gateway
from agentws.server import serve


async def counter(ctx: RunContext) -> AsyncIterator[str]:
    for number in range(1, 31):
        yield f"{number} "
        await anyio.sleep(0.05)


STATIC = StaticFiles(directory=Path(__file__).parent / "static", html=True)
app = Starlette(routes=[Mount("/app", STATIC)])
gateway = mount_agent_gateway(app, counter)

if __name__ == "__main__":
    serve(app, port=int(os.environ.get("PORT", "8000")))

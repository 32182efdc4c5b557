"""The smallest app. `uvicorn echo:app`, then open http://127.0.0.1:8000/"""

import asyncio
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import Agent, RunContext, mount_agent_gateway


class Echo(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        for word in ctx.text.split():
            yield word + " "
            await asyncio.sleep(0.2)


app = Starlette()
gateway = mount_agent_gateway(app, Echo)

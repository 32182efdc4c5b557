"""Pushing to a session from another process, through the store that both share.

    uvicorn push_from_worker:app
    python push_from_worker.py SESSION "Your export is ready."

Clients that are connected see it at once; the others when they return.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import AgentGateway, RunContext, SQLiteStore, mount_agent_gateway

DATABASE = os.environ.get("CHAT_DATABASE", "chat.sqlite3")


async def echo(ctx: RunContext) -> AsyncIterator[str]:
    yield ctx.text


async def push(session: str, content: str) -> str:
    """Returns the position of the notice. Raises NotFound when there is no such session.

    A gateway without agents can push, and runs nothing.
    """
    worker = AgentGateway(None, store=SQLiteStore(DATABASE))
    try:
        return await worker.session(session).push(content)
    finally:
        await worker.stop()


app = Starlette()
gateway = mount_agent_gateway(app, echo, store=SQLiteStore(DATABASE))

if __name__ == "__main__":
    print(asyncio.run(push(sys.argv[1], sys.argv[2])))

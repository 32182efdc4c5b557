"""Pushing to a session from another process, through the store that both share.

    uvicorn push_from_worker:app
    python push_from_worker.py SESSION "Your export is ready."

Whoever is connected sees it within a poll interval; whoever is away, on return.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import AgentGateway, Limits, RunContext, SQLiteStore, mount_agent_gateway

DATABASE = os.environ.get("CHAT_DATABASE", "chat.sqlite3")
# SQLite rings no bell in other processes, so what they append is found by looking.
LIMITS = Limits(idle_poll_interval=1.0)


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
gateway = mount_agent_gateway(app, echo, store=SQLiteStore(DATABASE), limits=LIMITS)

if __name__ == "__main__":
    print(asyncio.run(push(sys.argv[1], sys.argv[2])))

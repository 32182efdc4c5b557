"""Pushing to a session, and posting to a topic, from another process, through the shared store.

    uvicorn push_from_worker:app
    python push_from_worker.py SESSION "Your export is ready."
    python push_from_worker.py news "Version 2 is out."

Clients that are connected see it at once; the others when they return.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from agentws import AgentGateway, Identity, RunContext, SQLiteStore, mount_agent_gateway

DATABASE = os.environ.get("CHAT_DATABASE", "chat.sqlite3")


async def echo(ctx: RunContext) -> AsyncIterator[str]:
    yield ctx.text


def may_subscribe(identity: Identity | None, topic: str) -> bool:
    return topic == "news"


async def push(session: str, content: str) -> str:
    """Returns the position of the notice. Raises NotFound when there is no such session.

    A gateway without agents can push, and runs nothing.
    """
    worker = AgentGateway(None, store=SQLiteStore(DATABASE))
    try:
        return await worker.session(session).push(content)
    finally:
        await worker.stop()


async def post(topic: str, content: str, *, key: str | None = None) -> str:
    """Returns the position of the post, which is made once for each ``key``."""
    worker = AgentGateway(None, store=SQLiteStore(DATABASE))
    try:
        return await worker.topic(topic).post(content, key=key)
    finally:
        await worker.stop()


app = Starlette()
gateway = mount_agent_gateway(app, echo, store=SQLiteStore(DATABASE), may_subscribe=may_subscribe)

if __name__ == "__main__":
    to, text = sys.argv[1:]
    print(asyncio.run(post(to, text) if to == "news" else push(to, text)))

"""Steps of tests that branch a conversation, and what is in view after them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from agentws.agents.run_context import RunContext
from agentws.testing.connect import Frame, connect, kind

from .harness import Talk

EDITING = [
    {"type": "edit", "id": "m9", "message": "m1", "content": "A"},
    {"type": "regenerate", "id": "g1", "message": "m1"},
]


async def counting(ctx: RunContext) -> AsyncIterator[str]:
    """Says the message, and how many messages the agent's history has."""
    if ctx.text == "hang":
        await asyncio.get_running_loop().create_future()
    yield f"{ctx.text}#{len(await ctx.history())}"


async def said(one: Talk, *texts: str) -> None:
    for number, text in enumerate(texts, start=1):
        await one.client.say(text, f"m{number}")
        await one.terminal()


async def branch(one: Talk, frame: dict[str, Any]) -> Frame:
    """Sends the frame, and waits for the end of the run that answers."""
    reply = await one.client.ask(frame)
    assert kind(reply) == "accepted", reply
    return await one.terminal()


async def shown(one: Talk) -> list[str]:
    """The conversation as a new client gets it."""
    url = f"/ws/chat?session={one.session}"
    async with connect(one.client.app, url) as other:
        frame = await other.until("MESSAGES_SNAPSHOT")
        return texts(frame["event"]["messages"])


async def served(one: Talk) -> list[dict[str, Any]]:
    url = f"/ws/chat?session={one.session}"
    async with connect(one.client.app, url) as other:
        frame = await other.until("MESSAGES_SNAPSHOT")
        found: list[dict[str, Any]] = frame["event"]["messages"]
        return found


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [one["content"] for one in messages]


def branches_of(message: dict[str, Any]) -> Any:
    return message.get("metadata", {}).get("agentws", {}).get("branches")


async def refusal(one: Talk, frame: dict[str, Any]) -> str:
    reply = await one.client.ask(frame)
    assert kind(reply) == "error", reply
    return str(reply["code"])

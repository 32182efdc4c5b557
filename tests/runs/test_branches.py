"""Answering again, editing, going back: what is in view, for every reader of the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agentws.agents.agent import RunContext
from agentws.testing.connect import Frame, connect, kind

from .harness import Talk, talk


async def counting(ctx: RunContext) -> AsyncIterator[str]:
    """Says the message, and what is before it in the agent's history."""
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


async def test_a_regenerated_answer_replaces_the_last_one() -> None:
    async with talk(counting) as one:
        await said(one, "a", "b")
        await branch(one, {"type": "regenerate", "id": "g1"})
        assert await shown(one) == ["a", "a#1", "b", "b#3"]
        fold = await one.check()
        assert [message.id for message in fold.messages][2] == "m2"


async def test_an_edit_goes_on_from_an_earlier_message() -> None:
    async with talk(counting) as one:
        await said(one, "a", "b", "c")
        await branch(one, {"type": "edit", "id": "m9", "message": "m2", "content": "B"})
        assert await shown(one) == ["a", "a#1", "B", "B#3"]
        await one.client.settle()
        await one.check()


async def test_an_old_branch_comes_back_whole() -> None:
    async with talk(counting) as one:
        await said(one, "a", "b", "c")
        await branch(one, {"type": "edit", "id": "m9", "message": "m2", "content": "B"})
        old, new = branches_of((await served(one))[2])["ids"]
        await one.client.ask({"type": "switch", "id": "s1", "branch": old})
        assert await shown(one) == ["a", "a#1", "b", "b#3", "c", "c#5"]
        assert branches_of((await served(one))[2]) == {"current": 0, "ids": [old, new]}
        await one.client.ask({"type": "switch", "id": "s2", "branch": new})
        assert await shown(one) == ["a", "a#1", "B", "B#3"]
        await one.client.settle()
        await one.check()

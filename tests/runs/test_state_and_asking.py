"""The shared state of an agent that asks: while it waits, and when it is called again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import Agent, RunContext
from agentws.protocol.messages import ActivityMessage

from .harness import talk


def change(id: str, path: str, value: Any) -> dict[str, Any]:
    return {"type": "state", "id": id, "patch": [{"op": "add", "path": path, "value": value}]}


class Asking(Agent):
    """Takes a member out of the state, asks, and adds what it got."""

    accepts_state = True
    seen: list[Any] = []

    async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
        if ctx.text != "ask":
            ctx.patch_state([{"op": "add", "path": "/other", "value": ctx.text}])
            yield "noted"
            return
        ctx.set_state({"draft": "x", **(ctx.state or {})})
        ctx.patch_state([{"op": "remove", "path": "/draft"}])
        ctx.reason("I need to know. ")
        number = ctx.cite("https://example.com/")
        answer = await ctx.ask("How many?")
        self.seen.append(ctx.state)
        ctx.patch_state([{"op": "add", "path": "/many", "value": answer}])
        self.seen.append(ctx.state)
        yield f"{answer} [{number}], [{ctx.cite('https://example.com/b')}]"


@pytest.mark.parametrize("park", [600.0, 0.5], ids=["in memory", "called again"])
@pytest.mark.parametrize("client", [True, False], ids=["client", "other run"])
async def test_the_state_goes_on_while_an_agent_waits_for_an_answer(
    park: float, client: bool
) -> None:
    seen: list[Any] = []

    class Agent_(Asking):
        def __init__(self) -> None:
            self.seen = seen

    async with talk(Agent_, park=park) as one:
        await one.client.say("ask", "m1")
        ended = (await one.terminal())["event"]
        question = ended["outcome"]["interrupts"][0]["id"]
        await asyncio.sleep(1)
        if client:
            assert (await one.client.ask(change("s1", "/client", 1)))["type"] == "accepted"
        await one.client.say("another", "m2")
        await one.terminal()
        answer = {"type": "answer", "id": "a1", "interrupt": question, "payload": 3}
        assert (await one.client.ask(answer))["type"] == "accepted"
        end = (await one.terminal())["event"]
        assert end["type"] == "RUN_FINISHED", end
        fold = await one.check()
    before = {**({"client": 1} if client else {}), "other": "another"}
    assert fold.state == {**before, "many": 3}
    assert seen == [before, {**before, "many": 3}]
    numbers = [one.content["number"] for one in fold.messages if isinstance(one, ActivityMessage)]
    assert sorted(numbers) == [1, 2]


async def test_a_waiting_agent_is_told_of_changes() -> None:
    seen: list[Any] = []

    class Watching(Asking):
        async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
            ctx.set_state({})

            async def watch() -> None:
                async for state in ctx.state_changes():
                    seen.append(state)

            watching = asyncio.create_task(watch())
            yield str(await ctx.ask("Ready?"))
            await watching

    async with talk(Watching, run_timeout=20.0) as one:
        await one.client.say("go", "m1")
        ended = (await one.terminal())["event"]
        question = ended["outcome"]["interrupts"][0]["id"]
        await one.client.ask(change("s1", "/waiting", 1))
        await asyncio.sleep(0.1)
        assert seen == [{"waiting": 1}]
        await one.client.ask({"type": "answer", "id": "a1", "interrupt": question, "payload": 1})
        await one.client.until("RUN_STARTED")
        await one.client.ask(change("s2", "/running", 1))
        await asyncio.sleep(0.1)
        assert seen[-1] == {"waiting": 1, "running": 1}

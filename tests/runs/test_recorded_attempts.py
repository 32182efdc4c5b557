"""Another attempt finds the calls and the answers of the one that was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from agentws import Agent, RunContext, tool
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.testing.connect import Client, connect

from .attempting import log_of, shown
from .nodes import nodes

made: list[str] = []


@tool
async def book(seat: str) -> str:
    """Books a seat."""
    made.append(seat)
    if seat == "slow" and made.count("slow") == 1:
        await asyncio.sleep(1e6)
    return f"{seat} is booked ({len(made)})"


class Booking(Agent):
    attempts = 2

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield await ctx.call(book, seat="A")
        yield await ctx.call(book, seat="B")
        yield await ctx.call(book, seat="A")
        yield await ctx.call(book, seat="slow")


async def test_what_was_called_and_recorded_is_not_called_again() -> None:
    made.clear()
    async with nodes(Booking) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            for _ in range(3):
                await client.until("TOOL_CALL_RESULT")
            first.freeze()
            await client.reconnect(second.app)
            await client.until("RUN_FINISHED", within=30)
            events = await log_of(second, client)
            messages = await shown(second, client)
    # The call that was cut off has no result, so it is made again.
    assert made == ["A", "B", "A", "slow", "slow"]
    text = "".join(str(content) for role, content in messages if role == "assistant")
    assert text == "A is booked (1)B is booked (2)A is booked (3)slow is booked (5)"
    # The conversation in view has each call with its result.
    assert [content for role, content in messages if role == "tool"] == [
        "A is booked (1)",
        "B is booked (2)",
        "A is booked (3)",
        "slow is booked (5)",
    ]
    results = [one for one in events if isinstance(one, e.ToolCallResult)]
    repeated = [m.told_in(one.metadata).get("repeated", False) for one in results[4:]]
    assert repeated == [True, True, True, False]


class Asking(Agent):
    """Asks twice; is lost after the first answer, and let go after the second question."""

    attempts = 2
    calls: ClassVar[list[int]] = []

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        self.calls.append(ctx.attempt)
        yield f"You want {await ctx.ask('What?')}. "
        yield await ctx.call(book, seat="A")
        if len(self.calls) == 1:
            await asyncio.sleep(1e6)
        yield f" When: {await ctx.ask('When?')}. Key {ctx.idempotency_key}"


async def test_what_was_asked_and_answered_is_not_asked_again() -> None:
    made.clear()
    Asking.calls = []
    async with nodes(Asking, park=0.5) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            asked = await client.until("RUN_FINISHED")
            await answer(client, asked, "tea")
            await client.until(lambda frame: "is booked" in str(frame))
            await client.until("TEXT_MESSAGE_CONTENT")
            first.freeze()
            await client.reconnect(second.app)
            again = await client.until("RUN_FINISHED", within=30)
            assert again["event"]["outcome"]["interrupts"][0]["message"] == "When?"
            # It is not in memory any more, so it is called again for the answer.
            await asyncio.sleep(2)
            await answer(client, again, "now")
            await client.until("RUN_FINISHED", within=30)
            events = await log_of(second, client)
            texts = [str(text) for role, text in await shown(second, client) if role != "tool"]
    first_run = next(one for one in events if isinstance(one, e.RunStarted)).run_id
    assert "".join(texts) == (f"goYou want tea. A is booked (1) When: now. Key {first_run}")
    assert made == ["A"]
    assert Asking.calls == [1, 2, 2]


async def answer(client: Client, asked: Any, payload: str) -> None:
    interrupt = asked["event"]["outcome"]["interrupts"][0]["id"]
    await client.ask(
        {"type": "answer", "id": f"a-{payload}", "interrupt": interrupt, "payload": payload}
    )

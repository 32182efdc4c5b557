"""Calls that are stopped: with their run, by their agent, and with their node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import RunContext, tool
from agentws.testing.connect import connect, kind

from .asking import events_of
from .calling import results
from .harness import talk
from .nodes import nodes


async def test_a_stop_cancels_the_tool_and_closes_the_call() -> None:
    ended: list[str] = []

    @tool
    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("finally")

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        await asyncio.gather(ctx.call(work), ctx.call(work))
        yield "never"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.client.until(lambda frame: kind(frame) == "TOOL_CALL_END")
        await one.client.ask({"type": "cancel", "id": "c"})
        assert (await one.terminal())["event"]["outcome"]["type"] == "cancelled"
        assert await results(one) == [("stopped", "The call was stopped.")] * 2
        assert ended == ["finally"] * 2
        await one.check()


async def test_a_call_that_the_agent_cancels_is_stopped() -> None:
    @tool
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await ctx.call(work)
        yield "on"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert await results(one) == [("stopped", "The call was stopped.")]
        await one.check()


async def test_a_call_that_outlives_its_agent_is_stopped() -> None:
    tasks: list[asyncio.Task[Any]] = []

    @tool
    async def work() -> None:
        await asyncio.sleep(5)

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        tasks.append(asyncio.ensure_future(ctx.call(work)))
        await asyncio.sleep(0.1)
        yield "bye"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert await results(one) == [("stopped", "The call was stopped.")]
        await asyncio.wait(tasks)
        await one.check()


async def test_a_call_of_a_node_that_died_is_stopped() -> None:
    @tool
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "On it. "
        await ctx.call(work)

    async with nodes(agent) as (first, second), connect(first.app) as client:
        await client.say("go", "m1")
        await client.until(lambda frame: kind(frame) == "TOOL_CALL_END")
        first.freeze()
        await client.reconnect(second.app)
        ended = (await client.until("RUN_ERROR"))["event"]
        assert ended["code"] == "interrupted"
        (result,) = events_of(client, "TOOL_CALL_RESULT")
        assert result["metadata"]["agentws"]["status"] == "stopped"

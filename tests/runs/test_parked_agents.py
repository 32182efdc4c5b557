"""Agents that wait for an answer in memory: how many, how long, and on which node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agentws import RunContext
from agentws.testing.connect import connect

from .asking import answer, one_question, questions
from .harness import talk
from .nodes import nodes


async def test_clear_lets_the_waiting_agent_go() -> None:
    ended: list[str] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        try:
            yield await ctx.ask("Which?")
        finally:
            ended.append("finally")

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await one.client.ask({"type": "command", "id": "c", "name": "clear"})
        await asyncio.sleep(0.1)
        assert ended == ["finally"]
        assert (await one.client.ask(answer("a1", asked["id"])))["code"] == "not_found"
        await one.client.say("go", "m2")
        (asked,) = await questions(one.client)
        await one.client.ask(answer("a1", asked["id"], "x"))
        assert await one.client.answer() == "x"
        await one.check()


async def test_a_stop_does_not_hit_the_waiting_agent() -> None:
    async with talk(one_question) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await one.client.ask({"type": "cancel", "id": "c", "message": "m1"})
        await one.client.ask(answer("a1", asked["id"], "yes"))
        assert await one.client.answer() == "You said yes."
        await one.check()


async def test_a_run_that_goes_on_can_be_stopped() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield await ctx.ask("Which?")
        await asyncio.get_running_loop().create_future()

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await one.client.ask(answer("a1", asked["id"], "yes"))
        await one.client.until("TEXT_MESSAGE_CONTENT")
        await one.client.ask({"type": "cancel", "id": "c"})
        assert (await one.terminal())["event"]["outcome"]["type"] == "cancelled"
        await one.client.say("go", "m2")
        assert len(await questions(one.client)) == 1
        await one.check()


async def test_a_waiting_agent_takes_no_place_of_a_run() -> None:
    async with talk(one_question, max_runs=1) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        async with connect(one.client.app) as other:
            await other.until("welcome")
            await other.say("go", "m1")
            (second,) = await questions(other)
            await one.client.ask(answer("a1", asked["id"], "yes"))
            assert await one.client.answer() == "You said yes."
            await other.ask(answer("a2", second["id"], "no"))
            assert await other.answer() == "You said no."


async def test_only_so_many_agents_wait_in_memory() -> None:
    begun: list[str] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        begun.append(ctx.text)
        yield await ctx.ask(f"{ctx.text}?")

    async with talk(agent, max_parked=2) as one:
        asked = []
        for number in range(4):
            await one.client.say(f"q{number}", f"m{number}")
            asked += await questions(one.client)
        for number, each in enumerate(asked):
            await one.client.ask(answer(f"a{number}", each["id"], f"r{number}"))
            assert await one.client.answer() == f"r{number}"
        assert begun[4:] == ["q0", "q1"]
        await one.check()


@pytest.mark.parametrize("lossy", [None, 1.0], ids=["bus", "no bus"])
async def test_an_answer_through_another_node_reaches_the_waiting_agent(
    lossy: float | None,
) -> None:
    begun: list[str] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        begun.append(ctx.text)
        yield await ctx.ask("Which?")

    async with nodes(agent, lossy=lossy) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            (asked,) = await questions(client)
            await client.reconnect(second.app)
            await client.ask(answer("a1", asked["id"], "yes"))
            assert await client.answer() == "yes"
    assert begun == ["go"]


async def test_another_node_goes_on_when_the_first_one_is_gone() -> None:
    begun: list[str] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        begun.append(f"{ctx.text} {[one.content for one in await ctx.history()]}")
        yield "Hm. "
        yield await ctx.ask("Which?")

    async with nodes(agent) as (first, second):
        async with connect(first.app) as client:
            await client.say("before", "m0")
            await questions(client)
            await client.say("go", "m1")
            (asked,) = await questions(client)
            first.freeze()
            await client.reconnect(second.app)
            await client.ask(answer("a1", asked["id"], "yes"))
            assert await client.answer() == "yes"
            first.thaw()
            await asyncio.sleep(30)
            await client.settle()
    assert begun[-1] == begun[-2]


async def test_a_shutdown_leaves_the_question_open() -> None:
    async with nodes(one_question) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            (asked,) = await questions(client)
            await first.gateway.drain()
            await client.reconnect(second.app)
            await client.ask(answer("a1", asked["id"], "yes"))
            assert await client.answer() == "You said yes."

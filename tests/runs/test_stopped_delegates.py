"""Delegates that end early: with their run, by their caller, and with their node."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentws import RunContext
from agentws.errors import DelegateFailed
from agentws.testing.agents import Gate
from agentws.testing.connect import connect, kind

from .delegating import events, run
from .harness import talk
from .nodes import nodes


async def test_a_delegate_is_stopped_with_its_run() -> None:
    gate = Gate()

    async def researcher(ctx: RunContext) -> Any:
        yield "begun"
        await gate.wait()

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("researcher", "facts")

    async with talk({"lead": lead, "researcher": researcher}) as t:
        await t.client.say("go", "m1")
        await gate.reached()
        await t.client.send({"type": "cancel", "id": "c1"})
        assert (await t.terminal())["event"]["outcome"]["type"] == "cancelled"
        await t.check()
        assert len(events(t, "SUBAGENT_ERROR")) == 1


async def test_a_caller_may_cancel_one_delegate_and_go_on() -> None:
    async def researcher(ctx: RunContext) -> Any:
        yield "begun"
        await asyncio.Event().wait()

    async def lead(ctx: RunContext) -> Any:
        task = asyncio.create_task(ctx.delegate("researcher", "facts"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        yield "going on"

    t, terminal = await run({"lead": lead, "researcher": researcher})
    assert terminal["outcome"]["type"] == "success"
    assert [one["code"] for one in events(t, "SUBAGENT_ERROR")] == ["cancelled"]
    assert (await t.texts())[-1] == "going on"


async def test_a_delegate_that_nobody_awaits_ends_with_its_run() -> None:
    gate = Gate()
    tasks: list[asyncio.Task[Any]] = []

    async def researcher(ctx: RunContext) -> Any:
        yield "begun"
        await gate.wait()
        yield "too late"

    async def lead(ctx: RunContext) -> Any:
        tasks.append(asyncio.create_task(ctx.delegate("researcher", "facts")))
        await gate.reached()
        yield "done"

    t, _ = await run({"lead": lead, "researcher": researcher})
    gate.open()
    with pytest.raises(DelegateFailed):
        await tasks[0]
    assert [one["code"] for one in events(t, "SUBAGENT_ERROR")] == ["interrupted"]


async def test_the_run_of_a_dead_node_is_closed_with_its_delegates() -> None:
    gate = Gate()

    async def researcher(ctx: RunContext) -> Any:
        yield "begun"
        await gate.wait()

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("researcher", "facts")

    async with nodes({"lead": lead, "researcher": researcher}, lease_ttl=0.5) as (one, two):
        async with connect(one.app) as first:
            await first.until("welcome")
            await first.say("go", "m1")
            await first.until("TEXT_MESSAGE_CONTENT")
            session = first.session
            one.freeze()
        async with connect(two.app, f"/ws/chat?session={session}") as second:
            await second.until(lambda frame: kind(frame) == "RUN_ERROR")
            kinds = [one["type"] for one in second.events()]
            assert kinds[-3:] == ["TEXT_MESSAGE_END", "SUBAGENT_ERROR", "RUN_ERROR"]

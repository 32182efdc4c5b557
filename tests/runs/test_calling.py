"""``ctx.call``: what a tool's call writes, and its progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import RunContext, tool

from .asking import events_of
from .calling import Desk, results
from .harness import talk


async def test_a_call_and_its_result_are_events() -> None:
    desk = Desk()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "One moment. "
        receipt = await ctx.call(desk.refund, order="o1", amount=5)
        yield f"Done: {receipt}"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        kinds = await one.kinds()
        first = kinds.index("TOOL_CALL_START")
        assert kinds[first : first + 4] == [
            "TOOL_CALL_START",
            "TOOL_CALL_ARGS",
            "TOOL_CALL_END",
            "TOOL_CALL_RESULT",
        ]
        (start,) = events_of(one.client, "TOOL_CALL_START")
        assert start["toolCallName"] == "refund"
        (result,) = events_of(one.client, "TOOL_CALL_RESULT")
        assert result["toolCallId"] == start["toolCallId"]
        assert result["content"] == '{"order":"o1","amount":5.0}'
        told = result["metadata"]["agentws"]
        assert (told["status"], told["kind"]) == ("done", "json") and told["duration"] >= 0
        assert await one.texts() == ["One moment. ", None, "Done: Receipt(order='o1', amount=5.0)"]
        await one.check()


async def test_calls_may_run_in_parallel() -> None:
    @tool
    async def wait(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        begun = asyncio.get_running_loop().time()
        waited = await asyncio.gather(*(ctx.call(wait, seconds=one) for one in (3, 1, 2)))
        assert asyncio.get_running_loop().time() - begun < 4
        yield f"{waited}"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert [content for _, content in await results(one)] == ["1.0", "2.0", "3.0"]
        await one.check()


async def test_progress_belongs_to_the_call_that_it_is_of() -> None:
    @tool
    async def inner(ctx: RunContext) -> int:
        ctx.progress("inner")
        return 1

    @tool
    async def outer(ctx: RunContext) -> int:
        ctx.progress("outer", done=1, total=2)
        return await ctx.call(inner)

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        ctx.progress("run")
        number = await ctx.call(outer)
        yield f"{number}"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        ids = {
            each["toolCallName"]: each["toolCallId"]
            for each in events_of(one.client, "TOOL_CALL_START")
        }
        assert [each["value"] for each in events_of(one.client, "CUSTOM")] == [
            {"message": "run"},
            {"message": "outer", "done": 1, "total": 2, "toolCallId": ids["outer"]},
            {"message": "inner", "toolCallId": ids["inner"]},
        ]
        await one.check()


@pytest.mark.parametrize("wrong", [{}, {"done": float("nan")}, {"total": float("inf")}])
async def test_progress_must_show_something(wrong: dict[str, Any]) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        with pytest.raises(ValueError, match="expected"):
            ctx.progress(**wrong)
        yield "fine"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "fine"


async def test_what_is_no_tool_is_refused() -> None:
    async def plain() -> None: ...

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        with pytest.raises(TypeError, match="expected a function with @tool"):
            await ctx.call(plain)  # type: ignore[arg-type]
        yield "fine"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "fine"

"""Tools that fail, and calls with arguments that do not fit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import AgentError, RunContext, tool
from agentws.errors import ToolError

from .calling import results
from .harness import talk


@tool
async def fails() -> None:
    raise RuntimeError("the password is swordfish")


@tool
async def refuses() -> None:
    raise AgentError("There is no such order.")


@tool(timeout=1)
async def hangs() -> None:
    await asyncio.get_running_loop().create_future()


@tool
async def own_timeout() -> None:
    raise TimeoutError("slow")


@tool
async def unspeakable() -> object:
    return object()


@tool
async def enormous() -> str:
    return "x" * 50_000_000


@tool
async def enormous_json() -> dict[str, str]:
    return {"a": "x" * 50_000_000}


@tool
async def exact(number: int) -> int:
    return number


@pytest.mark.parametrize(
    ("failing", "arguments", "says"),
    [
        (fails, {}, "The tool failed."),
        (refuses, {}, "There is no such order."),
        (hangs, {}, "hangs took longer than 1 seconds."),
        (own_timeout, {}, "The tool failed."),
        (unspeakable, {}, "The result of unspeakable can't be encoded."),
        (enormous, {}, "The result of enormous has 50000000 bytes, which is too large."),
        (enormous_json, {}, "The result of enormous_json has 50000008 bytes, which is too large."),
        (exact, {"number": "x"}, "The arguments of exact are not valid: Expected `int`, got `str`"),
        (exact, {"number": 1, "more": 1}, "The arguments of exact are not valid: Object contains"),
    ],
)
async def test_a_tool_that_fails_is_an_error_that_the_agent_can_handle(
    failing: Any, arguments: dict[str, Any], says: str
) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        try:
            await ctx.call(failing, **arguments)
        except ToolError as error:
            yield f"I see: {error.message}"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        ((status, content),) = await results(one)
        assert status == "error" and content.startswith(says)
        assert str((await one.texts())[-1]).startswith(f"I see: {says}")
        await one.check()


async def test_a_failure_that_is_not_handled_ends_the_run() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        await ctx.call(fails)
        yield "never"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        ended = (await one.terminal())["event"]
        assert (ended["code"], ended["message"]) == ("tool_failed", "The tool failed.")
        assert "swordfish" not in str(one.client.frames)


async def test_arguments_that_are_no_json_are_refused() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        with pytest.raises(ToolError, match="can't be encoded as JSON"):
            await ctx.call(exact, number=object())
        yield "fine"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "fine"

"""Tools that raise a cancellation which nobody asked for: of a task or future of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from agentws import RunContext, tool
from agentws.errors import ToolError

from .asking import events_of
from .harness import talk


async def cancelled_task() -> None:
    task = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


async def cancelled_future() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def raised() -> None:
    raise asyncio.CancelledError("a tool's own")


@pytest.mark.parametrize("fail", [cancelled_task, cancelled_future, raised])
@pytest.mark.parametrize("parallel", [False, True])
async def test_a_tool_that_ends_with_its_own_cancellation_has_failed(
    fail: Callable[[], Awaitable[None]], parallel: bool
) -> None:
    @tool
    async def work() -> str:
        await fail()
        return "never"

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        with pytest.raises(ToolError):
            await (asyncio.gather(ctx.call(work)) if parallel else ctx.call(work))
        yield "on"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"
        (result,) = events_of(one.client, "TOOL_CALL_RESULT")
        assert result["metadata"]["agentws"]["status"] == "error"
        await one.check()

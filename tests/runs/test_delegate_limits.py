"""What a run may delegate: how deep, how often, how long, and to whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentws import RunContext
from agentws.errors import BadRequest, DelegateFailed, NotSupported, TooManyAgents

from .delegating import events, researcher, run


async def test_a_delegate_that_hangs_ends_by_its_timeout() -> None:
    closed: list[str] = []

    async def researcher(ctx: RunContext) -> Any:
        try:
            yield "begun"
            await asyncio.Event().wait()
        finally:
            closed.append("closed")

    async def lead(ctx: RunContext) -> Any:
        with pytest.raises(DelegateFailed, match="too long"):
            await ctx.delegate("researcher", "facts", timeout=0.01)
        yield "going on"

    t, terminal = await run({"lead": lead, "researcher": researcher})
    assert terminal["type"] == "RUN_FINISHED" and closed == ["closed"]
    assert [one["code"] for one in events(t, "SUBAGENT_ERROR")] == ["timed_out"]


async def test_agents_that_delegate_without_end_stop_at_the_depth() -> None:
    depths: list[str] = []

    async def lead(ctx: RunContext) -> Any:
        depths.append(ctx.text)
        yield await ctx.delegate("lead", ctx.text + "+")

    t, terminal = await run({"lead": lead}, max_delegate_depth=3)
    assert terminal["code"] == "delegate_failed" and "without an end" in terminal["message"]
    assert depths == ["go", "go+", "go++", "go+++"]


async def test_a_run_has_a_limit_of_delegates() -> None:
    async def lead(ctx: RunContext) -> Any:
        for _ in range(3):
            await ctx.delegate("researcher", "facts")
        with pytest.raises(TooManyAgents):
            await ctx.delegate("researcher", "facts")
        yield "enough"

    t, _ = await run({"lead": lead, "researcher": researcher}, max_delegates=3)
    assert (await t.texts())[-1] == "enough"


async def test_a_delegate_of_an_unknown_name_or_without_a_task_is_refused() -> None:
    async def lead(ctx: RunContext) -> Any:
        with pytest.raises(BadRequest, match="one of researcher"):
            await ctx.delegate("reseacher", "facts")
        for nothing in list[Any]([" ", []]):
            with pytest.raises(BadRequest, match="a task"):
                await ctx.delegate("researcher", nothing)
        yield "fine"

    t, _ = await run({"lead": lead, "researcher": researcher})
    assert not events(t, "SUBAGENT_STARTED") and (await t.texts())[-1] == "fine"


async def test_a_delegate_can_not_give_the_conversation_away() -> None:
    async def researcher(ctx: RunContext) -> Any:
        with pytest.raises(NotSupported):
            await ctx.handoff("lead")
        yield "fine"

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("researcher", "facts")

    t, _ = await run({"lead": lead, "researcher": researcher})
    assert (await t.texts())[-1] == "fine"


async def test_a_delegate_that_writes_without_end_is_stopped_by_the_size_of_the_run() -> None:
    async def endless(ctx: RunContext) -> Any:
        while True:
            yield "x" * 1000

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("endless", "go")

    t, terminal = await run({"lead": lead, "endless": endless}, max_run_size=100_000)
    assert terminal["code"] == "delegate_failed"
    assert "too long" in terminal["message"]

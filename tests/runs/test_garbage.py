"""What a run has needed is freed at its end, without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator

import pytest

from agentws.agents.run_context import RunContext
from agentws.errors import InvalidEvent

from .harness import talk

TURNS = 20


async def echo(ctx: RunContext) -> AsyncIterator[str]:
    yield ctx.text


async def test_a_turn_leaves_no_reference_cycle() -> None:
    async with talk(echo) as one:
        for number in range(3):
            await one.client.say("hello", f"warm{number}")
            await one.terminal()
        gc.collect()
        gc.disable()
        try:
            for number in range(TURNS):
                await one.client.say("hello", f"m{number}")
                await one.terminal()
            assert gc.collect() < TURNS
        finally:
            gc.enable()


async def test_a_context_that_an_agent_keeps_says_that_its_run_has_ended() -> None:
    kept = list[RunContext]()

    async def keep(ctx: RunContext) -> AsyncIterator[str]:
        kept.append(ctx)
        yield ctx.text

    async with talk(keep) as one:
        await one.client.say("hello", "m1")
        await one.terminal()
        for late in (kept[0].delegate("agent", "go on"), kept[0].ask("Why?")):
            with pytest.raises(InvalidEvent, match="has ended"):
                await late

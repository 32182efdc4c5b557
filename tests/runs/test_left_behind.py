"""A cancellation that comes late, by what an agent has left behind: it knows the session's task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import RunContext
from agentws.testing.faults import SlowStore
from agentws.testing.laws import violations

from .asking import answer, questions
from .harness import talk
from .nodes import memory_store


def cancel_later(*moments: float) -> None:
    task = asyncio.current_task()
    assert task is not None
    for seconds in moments:
        asyncio.get_running_loop().call_later(seconds, task.cancel)


@pytest.mark.parametrize("delay", [0.0, 0.01])
@pytest.mark.parametrize("late", [[0.004], [0.012], [0.02], [0.03], [0.012, 0.013], [0.004, 0.015]])
async def test_a_late_cancellation_does_not_stop_the_session(
    delay: float, late: list[float]
) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        if ctx.text == "go":
            cancel_later(*late)
        yield "fine"

    store: Any = memory_store()
    if delay:
        store = SlowStore(store, delay=delay)
    async with talk(agent, store=store) as one:
        await one.client.say("go", "m1")
        await one.client.say("again", "m2")
        await one.ended(2)
        assert (await one.texts())[-1] == "fine"
        await one.check()
        assert violations(await one.log()) == []


@pytest.mark.parametrize("delay", [0.0, 0.01])
async def test_an_agent_whose_waiting_was_cancelled_is_called_again_for_the_answer(
    delay: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        cancel_later(0.5)
        yield str(await ctx.ask("May I?"))

    store: Any = memory_store()
    if delay:
        store = SlowStore(store, delay=delay)
    async with talk(agent, store=store) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(1.0)
        await one.client.ask(answer("a1", asked["id"], "yes"))
        assert await one.client.answer() == "yes"
        await one.check()
        assert violations(await one.log()) == []
    assert not [one for one in caplog.records if one.exc_info]

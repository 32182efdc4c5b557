"""Several agents, or several calls at once, that ask: each one gets its own answers and results.

Whether they wait in memory or are called again, the conversation is the same.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentws import Router, RunContext
from agentws.testing.agui import runs_of, verify
from agentws.testing.connect import Frame

from .asking import answer
from .harness import Talk, talk

WAYS = pytest.mark.parametrize("park", [300.0, 0.05], ids=["in memory", "called again"])


async def asked(t: Talk, count: int) -> list[Frame]:
    """The questions that the run number ``count`` ended with."""
    ended = (await t.ended(count))[count - 1]
    assert ended["type"] == "RUN_FINISHED", ended
    found: list[Frame] = ended["outcome"]["interrupts"]
    if t.gateway.limits.park < 1:
        await asyncio.sleep(t.gateway.limits.park * 4)
    return found


async def say(t: Talk, *answers: str, first: str = "go", after: Frame | None = None) -> list[Any]:
    """Sends ``first``, answers the questions of each run with the next answer; the texts then."""
    await t.client.say(first, "m1")
    for number, given in enumerate(answers, 1):
        questions = await asked(t, number)
        if after is not None:
            await t.client.send(after)
        for at, one in enumerate(questions):
            await t.client.ask(answer(f"a{number}.{at}", one["id"], given))
    assert (await t.ended(len(answers) + 1))[-1]["type"] == "RUN_FINISHED"
    for run in runs_of(await t.log()).values():
        verify(run)
    await t.check()
    return [text for text in await t.texts() if text]


async def asking(ctx: RunContext) -> Any:
    yield f"{ctx.agent} got {await ctx.ask('Sure?')}"


SWITCH: Frame = {"type": "command", "id": "c1", "name": "agent", "args": "two"}


@WAYS
@pytest.mark.parametrize(
    ("first", "after", "agent"),
    [("@two go", None, "two"), ("go", SWITCH, "one"), ("@auto go", None, "two")],
    ids=["a mention", "a switch", "a router"],
)
async def test_an_answer_goes_to_the_agent_that_asked(
    first: str, after: Frame | None, agent: str, park: float
) -> None:
    chosen: list[str] = []

    def choose(ctx: RunContext) -> str:
        chosen.append(ctx.text)
        return "two"

    agents = {"one": asking, "two": asking, "auto": Router(choose, default="one")}
    async with talk(agents, park=park) as t:
        assert await say(t, "yes", first=first, after=after) == [f"{agent} got yes"]
    assert len(chosen) <= 1

"""Several agents, or several calls at once, that ask: each one gets its own answers and results.

Whether they wait in memory or are called again, the conversation is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import Agent, ModelRouter, Router, RunContext, tool
from agentws.agents import steps
from agentws.testing.agui import runs_of, verify
from agentws.testing.connect import Frame, connect, kind
from agentws.testing.fakellm import ScriptedLLM

from .asking import answer, questions
from .harness import Talk, talk
from .nodes import nodes

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


class Register:
    """Tools that count, and that take some time."""

    def __init__(self) -> None:
        self.count = 0

    @tool
    async def number(self) -> int:
        self.count += 1
        return self.count

    @tool
    async def wait(self, how: str) -> str:
        await asyncio.sleep(0.1 if how == "slow" else 0)
        return how


@WAYS
async def test_what_an_agent_asked_before_its_handoff_is_not_told_to_the_next_one(
    park: float,
) -> None:
    tools = Register()

    async def one(ctx: RunContext) -> Any:
        yield f"{await ctx.call(tools.number)} {await ctx.ask('Sure?')}"
        await ctx.handoff("two")

    async def two(ctx: RunContext) -> Any:
        before = await ctx.call(tools.number)
        yield f"{before} {await ctx.ask('Sure?')} {await ctx.call(tools.number)}"

    async with talk({"one": one, "two": two}, park=park) as t:
        assert await say(t, "first", "second") == ["1 first", "2 second 3"]


@WAYS
@pytest.mark.parametrize("way", ["delegates", "tools"])
async def test_each_of_several_that_ask_the_same_at_once_gets_its_own_answer(
    way: str, park: float
) -> None:
    """Whichever of them was the first to ask: what they had called before takes no time again."""
    tools = Register()

    async def clerk(ctx: RunContext) -> Any:
        await ctx.call(tools.wait, how=ctx.text)
        answered = await ctx.ask("Sure?")
        yield f"{ctx.text} got {answered}"

    @tool
    async def book(ctx: RunContext, how: str) -> str:
        """Books."""
        await ctx.call(tools.wait, how=how)
        answered = await ctx.ask("Sure?")
        ctx.output.write(f"{how} got {answered}")
        return f"{how} got {answered}"

    async def lead(ctx: RunContext) -> Any:
        def work(how: str) -> Any:
            delegated = way == "delegates"
            return ctx.delegate("clerk", how) if delegated else ctx.call(book, how=how)

        yield " ".join(await asyncio.gather(work("slow"), work("fast")))

    async with talk({"lead": lead, "clerk": clerk}, park=park) as t:
        await t.client.say("go", "m1")
        for at, one in enumerate(await asked(t, 1)):
            given = ("for the fast one", "for the slow one")[at]
            await t.client.ask(answer(f"a{at}", one["id"], given))
        await t.ended(2)
        await t.check()
        texts = " ".join(text for text in await t.texts() if text)
        for each in ("fast got for the fast one", "slow got for the slow one"):
            assert texts.count(each) == 2, texts


async def test_a_call_that_is_slow_to_ask_again_does_not_make_the_others_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steps, "DIVERGED", 0.1)
    tools = Register()

    @tool
    async def look_up(ctx: RunContext, seconds: float) -> str:
        """Looks something up before it asks."""
        await asyncio.sleep(seconds)
        answered = await ctx.ask(f"{seconds}?")
        return f"{answered} {await ctx.call(tools.wait, how='fast')}"

    async def lead(ctx: RunContext) -> Any:
        calls = (ctx.call(look_up, seconds=each) for each in (0.0, 0.5))
        yield " ".join(await asyncio.gather(*calls))

    async with talk(lead, park=0.05) as t:
        assert await say(t, "yes") == ["yes fast yes fast"]


@WAYS
async def test_a_router_that_is_a_delegate_chooses_once(park: float) -> None:
    tools, llm = Register(), ScriptedLLM(["clerk", "other"])

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("auto", "book it")

    async def clerk(ctx: RunContext) -> Any:
        yield f"{await ctx.call(tools.number)} {await ctx.ask('Sure?')} {await ctx.ask('Sure?')}"

    router = ModelRouter(llm, {"other": "anything else", "clerk": "bookings"})
    agents = {"lead": lead, "auto": router, "clerk": clerk, "other": asking}
    async with talk(agents, park=park) as t:
        assert await say(t, "a", "b") == ["1 a b", "1 a b"]
    assert len(llm.requests) == 1


async def test_another_attempt_after_a_handoff_asks_nothing_again() -> None:
    class One(Agent):
        attempts = 2

        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            yield f"{await ctx.ask('Sure?')} "
            await ctx.handoff("two")

    class Two(Agent):
        attempts = 2

        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            yield f"{await ctx.ask('Sure?')} {ctx.attempt}"
            if ctx.attempt == 1:
                await asyncio.Event().wait()

    async with nodes({"one": One, "two": Two}) as (first, second), connect(first.app) as client:
        await client.say("go", "m1")
        for given in ("a", "b"):
            (question,) = await questions(client)
            await client.ask(answer(f"answer {given}", question["id"], given))
        await client.until(lambda frame: frame.get("event", {}).get("delta") == "b 1")
        first.freeze()
        await client.reconnect(second.app)
        await client.until(lambda frame: kind(frame) == "RUN_FINISHED", within=30)
        assert client.events()[-1]["outcome"] == {"type": "success"}
        said = [one["delta"] for one in client.events() if one["type"] == "TEXT_MESSAGE_CONTENT"]
        assert said == ["a ", "b 1", "a ", "b 2"]

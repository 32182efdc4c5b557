"""An agent that is called again with an answer: what it did before is not done again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import RunContext, tool
from agentws.agents.calls import call
from agentws.protocol import events as e
from agentws.sessions.compaction import compact_run
from agentws.store import Store
from agentws.testing.connect import connect
from agentws.testing.faults import FaultyStore
from agentws.testing.oracle import read_log

from .asking import answer, events_of, questions
from .harness import talk
from .nodes import memory_store, nodes

DAY = 86400.0


class Trip:
    """An agent that books a trip: it calls, asks, calls an approved tool, and asks again."""

    def __init__(self) -> None:
        self.done: list[str] = []

    @tool
    async def search(self, to: str) -> list[str]:
        self.done.append(f"search {to}")
        return ["QF1", "BA2"]

    @tool(approve=True)
    async def book(self, flight: str) -> str:
        self.done.append(f"book {flight}")
        return f"ticket of {flight}"

    async def agent(self, ctx: RunContext) -> AsyncIterator[str]:
        yield "Let me see. "
        flights = await ctx.call(self.search, to=ctx.text)
        flight = await ctx.ask("Which?", choices=flights)
        yield f"{flight}, fine. "
        ticket = await ctx.call(self.book, flight=flight)
        seat = await ctx.ask("Which seat?", schema=int)
        yield f"You have the {ticket}, seat {seat}."


SAID = ["Let me see. ", "QF1, fine. ", "You have the ticket of QF1, seat 7."]
ANSWERS = ["QF1", {"approved": True}, 7]


async def compacted(store: Store, session: str) -> None:
    _, records = await read_log(store, session)
    await compact_run(store, session, first=1, last=records[-1].seq)


async def test_each_answer_may_come_a_day_later_in_another_process() -> None:
    trip, store = Trip(), memory_store()
    session, url, asked = "", "/ws/chat", []
    for step, given in enumerate([None, *ANSWERS]):
        async with nodes(trip.agent, 1, store=store) as (node,):
            async with connect(node.app, url) as client:
                await client.until("welcome")
                if given is None:
                    await client.say("Rome", "m1")
                else:
                    await client.ask(answer(f"a{step}", asked[0]["id"], given))
                if step < len(ANSWERS):
                    asked = await questions(client)
                else:
                    assert await client.answer() == SAID[-1]
                session = str(client.session)
                url = f"/ws/chat?session={session}"
            await asyncio.sleep(10)
            await compacted(store, session)
        await asyncio.sleep(DAY)
    assert trip.done == ["search Rome", "book QF1"]


@pytest.mark.parametrize("park", [300.0, 0.05], ids=["in memory", "called again"])
async def test_the_log_is_the_same_whether_the_agent_waits_or_is_called_again(park: float) -> None:
    trip = Trip()
    async with talk(trip.agent, park=park) as one:
        await one.client.say("Rome", "m1")
        for step, given in enumerate(ANSWERS):
            (asked,) = await questions(one.client)
            await asyncio.sleep(1)
            await one.client.ask(answer(f"a{step}", asked["id"], given))
        await one.terminal()
        assert [each for each in await one.texts() if each] == SAID
        assert trip.done == ["search Rome", "book QF1"]
        starts = events_of(one.client, "RUN_STARTED")
        parents = [each.get("parentRunId") for each in starts]
        assert parents == [None, *(each["runId"] for each in starts[:-1])]
        assert len(events_of(one.client, "TOOL_CALL_START")) == 2
        assert len(events_of(one.client, "TOOL_CALL_RESULT")) == 2
        await one.check()


async def test_tasks_that_asked_together_may_go_on_in_any_order() -> None:
    done: list[str] = []

    @tool
    async def note(what: str) -> str:
        done.append(what)
        return what

    @tool
    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        async def left() -> str:
            first = await ctx.ask("A?")
            await ctx.call(note, what=f"after {first}")
            return f"{first}{await ctx.ask('C?')}"

        async def right() -> str:
            await ctx.call(wait, seconds=1)
            return str(await ctx.ask("B?"))

        yield f"{await asyncio.gather(left(), right())}"

    async with talk(agent, park=0.05) as one:
        await one.client.say("go", "m1")
        asked = await questions(one.client)
        assert [each["message"] for each in asked] == ["A?", "B?"]
        await asyncio.sleep(1)
        for each in reversed(asked):
            await one.client.ask(answer(each["id"], each["id"], each["message"][0].lower()))
        (last,) = await questions(one.client)
        await asyncio.sleep(1)
        await one.client.ask(answer("last", last["id"], "c"))
        assert await one.client.answer() == "['ac', 'b']"
        assert done == ["after a"]
        await one.check()


async def test_the_context_of_an_agent_that_is_called_again_is_that_of_its_message() -> None:
    seen: list[Any] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        history = [one.id for one in await ctx.history()]
        seen.append((ctx.text, ctx.message.id, ctx.answers, history, ctx.agent))
        yield f"{await ctx.ask('Which?')}"

    async with talk(agent, park=0.05) as one:
        await one.client.say("first", "m1")
        (asked,) = await questions(one.client)
        await one.client.say("second", "m2")
        await questions(one.client)
        await asyncio.sleep(1)
        await one.client.ask(answer("a1", asked["id"], "x"))
        assert await one.client.answer() == "x"
        assert seen[2] == seen[0] == ("first", "m1", (), ["m1"], "agent")
        await one.check()


@pytest.mark.parametrize("park", [300.0, 0.05], ids=["in memory", "called again"])
@pytest.mark.parametrize("after", [False, True], ids=["refused", "lost acknowledgement"])
@pytest.mark.parametrize("operation", ["append", "read", "read_back", "lease"])
@pytest.mark.parametrize("step", range(3))
async def test_a_store_that_fails_once_loses_no_answer(
    park: float, after: bool, operation: str, step: int
) -> None:
    trip = Trip()
    store = FaultyStore(memory_store())
    async with talk(trip.agent, store=store, park=park) as one:
        await one.client.say("Rome", "m1")
        for number, given in enumerate(ANSWERS):
            (asked,) = await questions(one.client)
            await asyncio.sleep(1)
            sending = asyncio.ensure_future(
                one.client.ask(answer(f"a{number}", asked["id"], given))
            )
            if number == step:
                for _ in range(3):
                    store.fail(operation, times=1, after=after)
                    await asyncio.sleep(0)
            reply = await sending
            while reply["type"] == "error":
                reply = await one.client.ask(answer(f"a{number}", asked["id"], given))
        await one.client.until("RUN_FINISHED", within=60)
        store.heal()
        assert [each for each in await one.texts() if each] == SAID
        assert trip.done == ["search Rome", "book QF1"]


async def test_a_call_that_was_cut_off_by_a_crash_is_not_lost_silently() -> None:
    """The node dies in the approved call: the run ends as interrupted, and the call was made."""
    trip = Trip()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        if len(trip.done) < 1:
            yield await ctx.call(hang)

    @tool(approve=True)
    async def hang() -> str:
        trip.done.append("hang")
        await asyncio.get_running_loop().create_future()
        return ""

    async with nodes(agent) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            (asked,) = await questions(client)
            await client.ask(answer("a1", asked["id"], {"approved": True}))
            await client.until("RUN_STARTED")
            first.freeze()
            await client.reconnect(second.app)
            ended = (await client.until("RUN_ERROR"))["event"]
            assert ended["code"] == "interrupted"
            assert trip.done == ["hang"]
            late = await client.ask(answer("a1", asked["id"], {"approved": True}))
            assert late["duplicate"] is True


@pytest.mark.parametrize("park", [300.0, 0.05], ids=["in memory", "called again"])
async def test_an_agent_with_a_model_goes_on_from_what_it_wrote(park: float) -> None:
    """Its model says something else each time, so it is not asked again for what is known."""
    trip = Trip()
    rounds: list[int] = []

    async def model(ctx: RunContext) -> AsyncIterator[Any]:
        """Books the same flight twice, under the ids that the model gave."""
        earlier = await ctx.earlier()
        for number in (1, 2):
            id, arguments = f"toolu_{number}", '{"flight": "QF1"}'
            known = {one.id for each in earlier for one in getattr(each, "tool_calls", None) or ()}
            if id not in known:
                rounds.append(number)
                yield f"Round {number}. "
                yield e.ToolCallStart(id, "book")
                yield e.ToolCallArgs(tool_call_id=id, delta=arguments)
                yield e.ToolCallEnd(id)
            if id not in {getattr(each, "tool_call_id", None) for each in earlier}:
                await call(ctx, trip.book, arguments, shown=id)
        yield "Done."

    async with talk(model, park=park) as one:
        await one.client.say("go", "m1")
        for number in (1, 2):
            (asked,) = await questions(one.client)
            assert asked["toolCallId"] == f"toolu_{number}"
            await asyncio.sleep(1)
            await one.client.ask(answer(f"a{number}", asked["id"], {"approved": True}))
        await one.terminal()
        assert (rounds, trip.done) == ([1, 2], ["book QF1", "book QF1"])
        assert [each for each in await one.texts() if each] == ["Round 1. ", "Round 2. ", "Done."]
        await one.check()

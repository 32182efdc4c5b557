"""A delegate that asks: the whole run waits, and both go on with the answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentws import RunContext, tool
from agentws.errors import AgentError, DelegateFailed
from agentws.testing.agui import runs_of, verify
from agentws.testing.connect import connect
from agentws.testing.fakellm import Reply, ScriptedLLM, ToolUse

from .asking import answer, events_of, questions
from .chatting import chat, refund, refunded
from .harness import Talk, talk
from .nodes import nodes

WAYS = pytest.mark.parametrize("park", [300.0, 0.05], ids=["in memory", "called again"])


async def lead(ctx: RunContext) -> Any:
    yield "Let me ask. "
    yield await ctx.delegate("clerk", "book it") + ", says the clerk."


async def clerk(ctx: RunContext) -> Any:
    yield "Looking. "
    yield f"booked: {await ctx.ask('Book it for 40?')}"


async def wait_for_parking(park: float) -> None:
    if park < 1:
        await asyncio.sleep(park * 4)


async def check(t: Talk) -> None:
    for one in runs_of(await t.log()).values():
        verify(one)
    await t.check()


@WAYS
async def test_a_delegate_asks_and_goes_on_with_the_answer(park: float) -> None:
    async with talk({"lead": lead, "clerk": clerk}, park=park) as t:
        await t.client.say("go", "m1")
        (asked,) = await questions(t.client)
        (finished,) = events_of(t.client, "SUBAGENT_FINISHED")
        assert finished["outcome"] == {"type": "suspended", "interruptIds": [asked["id"]]}
        await wait_for_parking(park)
        await t.client.ask(answer("a1", asked["id"], "yes"))
        await t.ended(2)
        await check(t)
        began = events_of(t.client, "SUBAGENT_STARTED")
        assert [one["name"] for one in began] == ["clerk", "clerk"]
        assert began[0]["description"] == began[1]["description"] == "book it"
        _, done = events_of(t.client, "SUBAGENT_FINISHED")
        assert (done["outcome"], done["result"]) == ({"type": "success"}, "booked: yes")
        assert await t.texts() == [
            "Let me ask. ",
            "Looking. ",
            "booked: yes",
            "booked: yes, says the clerk.",
        ]


@WAYS
async def test_what_a_delegate_did_before_is_not_done_again(park: float) -> None:
    paid: list[int] = []
    worked: list[str] = []

    @tool
    async def pay(amount: int) -> str:
        """Pays."""
        paid.append(amount)
        return "paid"

    async def payer(ctx: RunContext) -> Any:
        worked.append(ctx.text)
        yield await ctx.call(pay, amount=40)

    async def broken(ctx: RunContext) -> Any:
        worked.append(ctx.text)
        raise AgentError("Never.")
        yield

    async def asker(ctx: RunContext) -> Any:
        said = await ctx.call(pay, amount=1)
        yield f"{said}: {await ctx.ask('Sure?')}"

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("payer", "first") + " "
        with pytest.raises(DelegateFailed, match="Never"):
            await ctx.delegate("broken", "second")
        yield await ctx.delegate("asker", "third")

    agents = {"lead": lead, "payer": payer, "broken": broken, "asker": asker}
    async with talk(agents, park=park) as t:
        await t.client.say("go", "m1")
        (asked,) = await questions(t.client)
        await wait_for_parking(park)
        await t.client.ask(answer("a1", asked["id"], "yes"))
        await t.ended(2)
        await check(t)
        assert (await t.texts())[-1] == "paid: yes"
    assert (paid, worked) == ([40, 1], ["first", "second"])


@WAYS
async def test_a_tool_of_a_delegate_is_approved(park: float) -> None:
    calls: list[int] = []

    @tool(approve=True)
    async def refund(amount: int) -> str:
        """Refunds."""
        calls.append(amount)
        return "refunded"

    async def clerk(ctx: RunContext) -> Any:
        yield await ctx.call(refund, amount=5)

    async with talk({"lead": lead, "clerk": clerk}, park=park) as t:
        await t.client.say("go", "m1")
        (asked,) = await questions(t.client)
        await wait_for_parking(park)
        await t.client.ask(answer("a1", asked["id"], {"approved": True}))
        await t.ended(2)
        await check(t)
        assert (await t.texts())[-1] == "refunded, says the clerk."
    assert calls == [5]


@WAYS
async def test_nested_and_parallel_delegates_ask_together(park: float) -> None:
    async def lead(ctx: RunContext) -> Any:
        both = [ctx.delegate("middle", name) for name in "ab"]
        yield " ".join(await asyncio.gather(*both))

    async def middle(ctx: RunContext) -> Any:
        yield "<" + await ctx.delegate("clerk", ctx.text) + ">"

    async def clerk(ctx: RunContext) -> Any:
        yield f"{ctx.text}{await ctx.ask(f'About {ctx.text}?')}"

    async with talk({"lead": lead, "middle": middle, "clerk": clerk}, park=park) as t:
        await t.client.say("go", "m1")
        asked = await questions(t.client)
        assert sorted(one["message"] for one in asked) == ["About a?", "About b?"]
        await wait_for_parking(park)
        for number, one in enumerate(sorted(asked, key=lambda one: one["message"])):
            await t.client.ask(answer(f"a{number}", one["id"], number))
        await t.ended(2)
        await check(t)
        assert (await t.texts())[-1] == "<a0> <b1>"


async def test_a_delegates_timeout_stands_still_while_a_person_is_asked() -> None:
    async def lead(ctx: RunContext) -> Any:
        yield await ctx.delegate("clerk", "go", timeout=0.1)

    async with talk({"lead": lead, "clerk": clerk}) as t:
        await t.client.say("go", "m1")
        (asked,) = await questions(t.client)
        await asyncio.sleep(0.3)
        await t.client.ask(answer("a1", asked["id"], "yes"))
        await t.ended(2)
        assert (await t.texts())[-1] == "booked: yes"


async def test_a_delegate_at_work_keeps_its_run_while_another_one_asks() -> None:
    go_on = asyncio.Event()

    async def worker(ctx: RunContext) -> Any:
        await go_on.wait()
        yield "worked"

    async def lead(ctx: RunContext) -> Any:
        both = ctx.delegate("clerk", "go"), ctx.delegate("worker", "go")
        yield " ".join(await asyncio.gather(*both))

    async with talk({"lead": lead, "clerk": clerk, "worker": worker}) as t:
        await t.client.say("go", "m1")
        await t.client.until("TEXT_MESSAGE_CONTENT")
        await t.client.settle()
        assert not events_of(t.client, "RUN_FINISHED")
        go_on.set()
        (asked,) = await questions(t.client)
        await t.client.ask(answer("a1", asked["id"], "yes"))
        await t.ended(2)
        await check(t)
        assert (await t.texts())[-1] == "booked: yes worked"


async def test_another_node_goes_on_with_the_delegate() -> None:
    async with nodes({"lead": lead, "clerk": clerk}, lease_ttl=0.5) as (one, two):
        async with connect(one.app) as first:
            await first.until("welcome")
            await first.say("go", "m1")
            (asked,) = await questions(first)
            session = first.session
            one.freeze()
        async with connect(two.app, f"/ws/chat?session={session}") as second:
            await second.until("welcome")
            await second.send(answer("a1", asked["id"], "yes"))
            await second.until("SUBAGENT_FINISHED")
            await second.until("RUN_FINISHED")
            said = [one for one in second.events() if one["type"] == "TEXT_MESSAGE_CONTENT"]
            assert said[-1]["delta"] == "booked: yes, says the clerk."


@WAYS
async def test_the_agent_that_took_over_asks_and_gets_the_answer(park: float) -> None:
    async def lead(ctx: RunContext) -> Any:
        yield f"Over to the clerk for {await ctx.ask('For whom?')}. "
        await ctx.handoff("clerk", "It is theirs.")

    async def clerk(ctx: RunContext) -> Any:
        handed = ctx.handed_over
        assert handed is not None and (handed.by, handed.to) == ("lead", "clerk")
        yield f"booked: {await ctx.ask(f'Book it? {handed.reason}')}"

    async with talk({"lead": lead, "clerk": clerk}, park=park) as t:
        await t.client.say("go", "m1")
        (asked,) = await questions(t.client)
        await wait_for_parking(park)
        await t.client.ask(answer("a1", asked["id"], "Ann"))
        (asked,) = await questions(t.client)
        assert asked["message"] == "Book it? It is theirs."
        await wait_for_parking(park)
        await t.client.ask(answer("a2", asked["id"], "yes"))
        await t.ended(3)
        await check(t)
        assert (await t.texts())[-1] == "booked: yes"
        starts = [one for one in t.client.events() if one["type"] == "RUN_STARTED"]
        assert [one["metadata"]["agentws"]["agent"] for one in starts] == ["lead", "lead", "clerk"]


@WAYS
async def test_a_tool_may_delegate_and_the_delegate_ask(park: float) -> None:
    @tool(timeout=0.1)
    async def consult(ctx: RunContext, topic: str) -> str:
        """Asks the clerk."""
        return str(await ctx.delegate("clerk", topic))

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.call(consult, topic="book it")

    async with talk({"lead": lead, "clerk": clerk}, park=park) as t:
        await t.client.say("go", "m1")
        (asked,) = await questions(t.client)
        await asyncio.sleep(0.3)
        await t.client.ask(answer("a1", asked["id"], "yes"))
        await t.ended(2)
        await check(t)
        assert (await t.texts())[-1] == "booked: yes"


async def test_a_tool_may_hand_over() -> None:
    @tool
    async def transfer(ctx: RunContext) -> str:
        """Transfers the user to the clerk."""
        await ctx.handoff("clerk", "It is theirs.")
        return "transferred"

    async def lead(ctx: RunContext) -> Any:
        yield await ctx.call(transfer)
        yield "never"

    async def clerk(ctx: RunContext) -> Any:
        yield "here"

    async with talk({"lead": lead, "clerk": clerk}) as t:
        await t.client.say("go", "m1")
        await t.ended(1)
        await check(t)
        assert (await t.texts())[-1] == "here"
        (result,) = events_of(t.client, "TOOL_CALL_RESULT")
        assert result["content"] == "transferred"


async def test_a_question_names_the_delegate_that_asks_and_the_delegate_its_questions() -> None:
    async def lead(ctx: RunContext) -> Any:
        both = [ctx.delegate("clerk", name) for name in "ab"]
        yield await ctx.ask("Both?") + " ".join(await asyncio.gather(*both))

    async with talk({"lead": lead, "clerk": clerk}) as t:
        await t.client.say("go", "m1")
        (own,) = await questions(t.client)
        assert "subagentRunId" not in own
        await t.client.ask(answer("a1", own["id"], "yes"))
        await t.client.until("RUN_FINISHED")
        begun = [one["subagentRunId"] for one in events_of(t.client, "SUBAGENT_STARTED")]
        asked = events_of(t.client, "RUN_FINISHED")[-1]["outcome"]["interrupts"]
        assert sorted(one["subagentRunId"] for one in asked) == sorted(begun)
        named = {one["id"]: one["subagentRunId"] for one in asked}
        ends = events_of(t.client, "SUBAGENT_FINISHED")
        told = {id: end["subagentRunId"] for end in ends for id in end["outcome"]["interruptIds"]}
        assert told == named
        await check(t)


@WAYS
@pytest.mark.parametrize("depth", [1, 2])
async def test_the_model_of_a_delegate_is_not_asked_again_for_what_is_recorded(
    park: float, depth: int
) -> None:
    refunded.clear()
    llm = ScriptedLLM(
        [
            Reply("I ask. ", calls=[ToolUse("refund", ['{"order": "A7"}'])]),
            Reply("And again. ", calls=[ToolUse("refund", ['{"order": "B8"}'])]),
            "Done.",
        ]
    )

    async def lead(ctx: RunContext) -> Any:
        yield "I let it be done. "
        yield await ctx.delegate(["", "bot", "middle"][depth], "refund both")

    async def middle(ctx: RunContext) -> Any:
        yield "Not I. "
        yield await ctx.delegate("bot", "refund both")

    agents = {"lead": lead, "middle": middle, "bot": chat(llm, tools=[refund])}
    async with talk(agents, park=park) as t:
        await t.client.say("go", "m1")
        for number in (1, 2):
            (asked,) = (await t.client.until("RUN_FINISHED"))["event"]["outcome"]["interrupts"]
            await wait_for_parking(park)
            await t.client.ask(answer(f"a{number}", asked["id"], {"approved": True}))
        await t.ended(3)
        await check(t)
        assert (await t.texts())[-1] == "Done."
    assert refunded == ["A7", "B8"]
    assert [len(turns) for turns in llm.requests] == [1, 3, 5]


async def test_a_delegate_that_is_new_is_not_given_what_others_wrote() -> None:
    written: list[int] = []

    async def lead(ctx: RunContext) -> Any:
        yield "Hello. "
        said = await ctx.ask("Sure?")
        yield said + await ctx.delegate("reader", "read")

    async def reader(ctx: RunContext) -> Any:
        written.append(len(await ctx.earlier()))
        yield "."

    async with talk({"lead": lead, "reader": reader}, park=0.05) as t:
        await t.client.say("go", "m1")
        (asked,) = await questions(t.client)
        await wait_for_parking(0.05)
        await t.client.ask(answer("a1", asked["id"], "yes"))
        await t.ended(2)
    assert written == [0]


async def test_what_a_delegate_wrote_is_not_what_its_caller_has_written() -> None:
    own: list[list[str]] = []

    async def lead(ctx: RunContext) -> Any:
        own.append([str(one.content) for one in await ctx.earlier()])
        yield "Hello. "
        yield await ctx.delegate("clerk", "book it")

    async with talk({"lead": lead, "clerk": clerk}, park=0.05) as t:
        await t.client.say("go", "m1")
        (asked,) = await questions(t.client)
        await wait_for_parking(0.05)
        await t.client.ask(answer("a1", asked["id"], "yes"))
        await t.ended(2)
    assert own == [[], ["Hello. "]]

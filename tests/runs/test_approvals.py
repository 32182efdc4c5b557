"""Calls that wait: for their approval, or for the answer to what their tool asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import RunContext, tool
from agentws.errors import ToolDenied, ToolError

from .asking import answer, events_of, questions
from .calling import Desk, results
from .harness import Talk, talk


async def test_a_call_is_not_made_if_the_rule_for_its_approval_fails() -> None:
    done: list[float] = []

    @tool(approve=lambda args: args.amont > 100)
    async def give(amount: float) -> None:
        done.append(amount)

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        with pytest.raises(ToolError, match="The tool failed"):
            await ctx.call(give, amount=5)
        yield "fine"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert (await results(one), done) == ([("error", "The tool failed.")], [])


PARKS = pytest.mark.parametrize("park", [300.0, 0.05], ids=["in memory", "called again"])


def paying(desk: Desk, amount: float = 500) -> Any:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        await ctx.call(desk.refund, order="o1", amount=1)
        try:
            yield await ctx.call(desk.pay, amount=amount)
        except ToolDenied as error:
            yield f"Denied: {error.message}"

    return agent


async def approval(one: Talk) -> dict[str, Any]:
    (asked,) = await questions(one.client)
    await asyncio.sleep(1)
    assert asked["reason"] == "tool_call"
    return asked


@PARKS
async def test_a_call_waits_for_its_approval(park: float) -> None:
    desk = Desk()
    async with talk(paying(desk), park=park) as one:
        await one.client.say("go", "m1")
        asked = await approval(one)
        assert asked["message"] == 'Call pay with {"amount":500}?'
        assert set(asked["responseSchema"]["properties"]) == {"approved", "reason", "editedArgs"}
        assert desk.done == ["o1 1"]
        await one.client.ask(answer("a1", asked["id"], {"approved": True}))
        await one.terminal()
        assert desk.done == ["o1 1", "500"]
        assert await results(one) == [
            ("done", '{"order":"o1","amount":1.0}'),
            ("done", "paid 500"),
        ]
        starts = events_of(one.client, "TOOL_CALL_START")
        assert [each["toolCallName"] for each in starts] == ["refund", "pay"]
        assert asked["toolCallId"] == starts[1]["toolCallId"]
        assert (await one.texts())[-1] == "paid 500"
        await one.check()


@pytest.mark.parametrize("approves", [True, False])
async def test_an_answer_counts_though_the_tool_needs_no_approval_any_more(approves: bool) -> None:
    done: list[int] = []
    versions = [tool(name="pay", approve=True), tool(name="pay")]

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        async def pay(amount: int) -> str:
            done.append(amount)
            return "paid"

        try:
            yield await ctx.call(versions.pop(0)(pay), amount=500)
        except ToolDenied:
            yield "denied"

    async with talk(agent, park=0.05) as one:
        await one.client.say("go", "m1")
        asked = await approval(one)
        await one.client.ask(answer("a1", asked["id"], {"approved": approves}))
        assert await one.client.answer() == ("paid" if approves else "denied")
        assert done == ([500] if approves else [])
        await one.check()


@PARKS
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"payload": {"approved": False, "reason": "too much"}}, "The call was denied: too much"),
        ({"payload": {"approved": False}}, "The call was denied."),
        ({"status": "cancelled"}, "The call was denied."),
    ],
)
async def test_a_call_may_be_denied(park: float, given: dict[str, Any], says: str) -> None:
    desk = Desk()
    async with talk(paying(desk), park=park) as one:
        await one.client.say("go", "m1")
        asked = await approval(one)
        await one.client.ask({**answer("a1", asked["id"]), **given})
        await one.terminal()
        assert desk.done == ["o1 1"]
        assert (await results(one))[-1] == ("denied", says)
        assert (await one.texts())[-1] == f"Denied: {says}"
        await one.check()


@PARKS
async def test_a_call_may_be_approved_with_other_arguments(park: float) -> None:
    desk = Desk()
    async with talk(paying(desk), park=park) as one:
        await one.client.say("go", "m1")
        asked = await approval(one)
        wrong = {"approved": True, "editedArgs": {"amount": "x"}}
        await one.client.ask(answer("a1", asked["id"], wrong))
        asked = await approval(one)
        assert asked["message"].startswith("The arguments of pay are not valid: Expected `float`")
        right = {"approved": True, "editedArgs": {"amount": 200}}
        await one.client.ask(answer("a2", asked["id"], right))
        await one.terminal()
        assert desk.done == ["o1 1", "200"]
        result = events_of(one.client, "TOOL_CALL_RESULT")[-1]
        assert result["metadata"]["agentws"]["editedArgs"] == {"amount": 200}
        await one.check()


async def test_a_call_that_needs_no_approval_is_made_at_once() -> None:
    desk = Desk()
    async with talk(paying(desk, 5)) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert desk.done == ["o1 1", "5"]


@pytest.mark.parametrize("payload", [None, True, {}, {"approved": "yes"}, ["approved"]])
async def test_an_answer_must_approve_or_deny(payload: Any) -> None:
    async with talk(paying(Desk())) as one:
        await one.client.say("go", "m1")
        asked = await approval(one)
        refused = await one.client.ask(answer("a1", asked["id"], payload))
        assert refused["code"] == "bad_request" and "approved" in refused["expected"]


@PARKS
async def test_working_calls_finish_before_the_run_waits(park: float) -> None:
    desk = Desk()

    @tool
    async def slow() -> str:
        await asyncio.sleep(2)
        desk.done.append("slow")
        return "slow"

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        both = await asyncio.gather(ctx.call(desk.pay, amount=500), ctx.call(slow))
        yield f"{both}"

    async with talk(agent, park=park) as one:
        await one.client.say("go", "m1")
        asked = await approval(one)
        assert desk.done == ["slow"]
        await one.client.ask(answer("a1", asked["id"], {"approved": True}))
        await one.terminal()
        assert desk.done == ["slow", "500"]
        await one.check()


@PARKS
async def test_a_tool_may_ask_and_its_timeout_stands_still(park: float) -> None:
    @tool(timeout=2)
    async def careful(ctx: RunContext) -> str:
        await asyncio.sleep(1)
        said = await ctx.ask("Sure?")
        await asyncio.sleep(0.5)
        return f"careful: {said}"

    @tool(timeout=2)
    async def outer(ctx: RunContext) -> str:
        return await ctx.call(careful)

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield await ctx.call(outer)

    async with talk(agent, park=park) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(20)
        await one.client.ask(answer("a1", asked["id"], "yes"))
        await one.terminal()
        assert (await one.texts())[-1] == "careful: yes"
        await one.check()

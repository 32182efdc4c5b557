"""Steering: a message for the run that is active, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentws import RunContext
from agentws.errors import AgentError
from agentws.protocol import messages as m
from agentws.testing.agents import Gate
from agentws.testing.connect import kind

from .harness import talk
from .steering import Steered, outcomes, told


async def test_a_steering_message_reaches_the_active_run_and_is_shown_where_it_did() -> None:
    agent = Steered()
    async with talk(agent) as one:
        await one.client.say("slow", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        assert kind(await one.client.say("faster", "m2", overlap="steer")) == "accepted"
        agent.gate.open()
        await one.terminal()
        fold = await one.check()
        assert await outcomes(one) == [("m2", "delivered", None)]
    assert agent.taken == ["faster"]
    assert told(fold) == [("U", "slow"), ("A", "before"), ("U", "faster"), ("A", "after")]
    assert agent.texts == ["slow"]


@pytest.mark.parametrize("end", ["finished", "failed", "cancelled"])
async def test_an_undelivered_message_says_why_and_runs_next(end: str) -> None:
    gate, texts = Gate(), list[str]()

    async def agent(ctx: RunContext) -> Any:
        texts.append(ctx.text)
        yield "text"
        if ctx.text == "first":
            await gate.wait()
            if end == "failed":
                raise AgentError("no")

    async with talk(agent) as one:
        await one.client.say("first", "m1")
        await gate.reached()
        await one.client.say("queued", "m2")
        await one.client.say("steer 1", "m3", overlap="steer")
        await one.client.say("steer 2", "m4", overlap="steer")
        if end == "cancelled":
            await one.client.ask({"type": "cancel", "id": "c", "message": "m1"})
        gate.open()
        await one.ended(4)
        assert await outcomes(one) == [("m3", "undelivered", end), ("m4", "undelivered", end)]
        await one.check()
        kinds = await one.kinds()
        first_end = next(i for i, name in enumerate(kinds) if name in ("RUN_FINISHED", "RUN_ERROR"))
        assert kinds[first_end + 1 : first_end + 4] == [
            "message.steered",
            "message.steered",
            "RUN_STARTED",
        ]
    assert texts == ["first", "steer 1", "steer 2", "queued"]


async def test_a_message_that_interrupts_runs_before_what_was_to_steer() -> None:
    gate, texts = Gate(), list[str]()

    async def agent(ctx: RunContext) -> Any:
        texts.append(ctx.text)
        yield "text"
        await gate.wait()

    async with talk(agent) as one:
        await one.client.say("first", "m1")
        await gate.reached()
        await one.client.say("queued", "m2")
        await one.client.say("steer", "m3", overlap="steer")
        now = {"type": "send", "id": "m4", "content": "now", "overlap": "interrupt"}
        late = {"type": "send", "id": "m5", "content": "late", "overlap": "steer"}
        await asyncio.gather(one.client.send(now), one.client.send(late))
        gate.open()
        await one.ended(5)
        assert await outcomes(one) == [
            ("m5", "undelivered", "cancelled"),
            ("m3", "undelivered", "cancelled"),
        ]
        await one.check()
    assert texts == ["first", "now", "steer", "queued", "late"]


async def test_without_an_active_run_it_is_queued_at_once() -> None:
    async with talk(Steered()) as one:
        await one.client.say("hello", "m1", overlap="steer")
        await one.terminal()
        assert await outcomes(one) == [("m1", "undelivered", "no_run")]
        assert (await one.kinds())[:3] == ["message.accepted", "message.steered", "RUN_STARTED"]
        await one.check()


async def test_an_undecided_steering_message_is_withdrawn_and_never_delivered() -> None:
    agent = Steered()
    async with talk(agent) as one:
        await one.client.say("slow", "m1")
        await agent.gate.reached()
        await one.client.say("one", "m2", overlap="steer")
        await one.client.say("two", "m3", overlap="steer")
        done = await one.client.ask({"type": "withdraw", "id": "w1", "message": "m2"})
        assert kind(done) == "accepted"
        await one.client.ask({"type": "cancel", "id": "c1", "message": "m3"})
        agent.gate.open()
        await one.terminal()
        assert await outcomes(one) == []
        late = await one.client.ask({"type": "withdraw", "id": "w2", "message": "m2"})
        assert late["code"] == "not_found"
        await one.check()
    assert agent.taken == []


async def test_a_delivered_message_names_its_run_for_a_cancel() -> None:
    stepped = asyncio.Event()

    async def agent(ctx: RunContext) -> Any:
        yield "text"
        async for message in ctx.steering():
            yield f"got {message.content}"
            stepped.set()

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        await one.client.say("left", "m2", overlap="steer")
        await stepped.wait()
        await one.client.ask({"type": "cancel", "id": "c1", "message": "m2"})
        ended = (await one.terminal())["event"]
        assert ended["outcome"] == {"type": "cancelled"}
        late = await one.client.ask({"type": "withdraw", "id": "w", "message": "m2"})
        assert late["code"] == "not_found"
        await one.check()


async def test_the_same_id_again_is_a_duplicate() -> None:
    agent = Steered()
    async with talk(agent) as one:
        await one.client.say("slow", "m1")
        await agent.gate.reached()
        first = await one.client.say("left", "m2", overlap="steer")
        again = await one.client.say("left", "m2", overlap="steer")
        assert (again["duplicate"], again["position"]) == (True, first["position"])
        agent.gate.open()
        await one.terminal()
        late = await one.client.say("left", "m2", overlap="steer")
        assert (late["duplicate"], late["position"]) == (True, first["position"])
        await one.check()
    assert agent.taken == ["left"]


async def test_a_full_queue_counts_what_is_to_steer() -> None:
    gate = Gate()

    async def agent(ctx: RunContext) -> Any:
        await gate.wait()
        yield "text"

    async with talk(agent, max_queued=1) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.say("one", "m2", overlap="steer")
        refused = await one.client.say("two", "m3", overlap="steer")
        assert refused["code"] == "queue_full"
        gate.open()
        await one.ended(2)
        await one.check()


async def test_history_has_the_message_where_it_was_delivered() -> None:
    agent = Steered()
    seen: list[list[m.Message]] = []

    async def run(ctx: RunContext) -> Any:
        if ctx.text == "history":
            seen.append(await ctx.history())
        async for item in agent(ctx):
            yield item

    async with talk(run) as one:
        await one.client.say("slow", "m1")
        await agent.gate.reached()
        await one.client.say("faster", "m2", overlap="steer")
        agent.gate.open()
        await one.terminal()
        await one.client.say("history", "m3")
        await one.ended(2)
    assert [one.content for one in seen[0]] == ["slow", "before", "faster", "after", "history"]

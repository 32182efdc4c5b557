"""Steering while nodes die, lag behind the log, and fail to append."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentws import RunContext
from agentws.backends.memory import MemoryStore
from agentws.testing.agents import Gate
from agentws.testing.connect import connect, kind
from agentws.testing.faults import FaultyStore
from agentws.testing.laws import violations
from agentws.testing.oracle import check_client, check_log, read_log

from .harness import accepted, talk
from .nodes import nodes
from .steering import Steered, outcomes


@pytest.mark.parametrize(
    "command",
    [{"type": "withdraw", "message": "m2"}, {"type": "cancel", "message": "m1"}],
    ids=["withdrawn", "stopped"],
)
async def test_another_node_comes_before_the_delivery(command: dict[str, str]) -> None:
    """The node of the run does not know of the command yet: no bell, and it polls rarely."""
    # No text to end, so that the delivery is the next append of the run.
    agent = Steered(speaks_first=False)
    rarely: dict[str, Any] = {"poll_interval": 50.0, "idle_poll_interval": 50.0, "lease_ttl": 100.0}
    async with nodes(agent, lossy=1.0, **rarely) as (first, second):
        async with connect(first.app) as here:
            await here.say("slow", "m1")
            await agent.gate.reached()
            await here.say("faster", "m2", overlap="steer")
            async with connect(second.app, f"/ws/chat?session={here.session}") as there:
                done = await there.ask({"id": "c1", **command})
                assert kind(done) == "accepted"
            agent.gate.open()
            while not any(event["type"] == "RUN_FINISHED" for event in here.events()):
                await here.receive(within=200)
            await asyncio.sleep(200)
            await here.settle()
            assert here.session is not None
            epoch, records = await read_log(first.store.store, here.session)
            assert violations(records) == []
            check_log(records, accepted=accepted(here.frames))
            check_client(epoch, records, here.frames, complete=True)
    assert agent.taken == []


async def test_a_node_that_dies_leaves_the_message_to_the_next() -> None:
    agent = Steered()
    async with nodes(agent) as (first, second):
        async with connect(first.app) as client:
            await client.say("slow", "m1")
            await agent.gate.reached()
            await client.say("steer", "m2", overlap="steer")
            first.freeze()
            await client.reconnect(second.app)
            await client.until("RUN_FINISHED", within=20)
            assert client.session is not None
            epoch, records = await read_log(second.store.store, client.session)
            assert violations(records) == []
            check_client(epoch, records, client.frames, complete=True)
            steered = [one for one in client.events() if one["type"] == "message.steered"]
            assert [(one["outcome"], one["reason"]) for one in steered] == [
                ("undelivered", "interrupted")
            ]
    assert agent.texts == ["slow", "steer"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("take", ["steered", "steering"])
async def test_a_delivery_is_made_once_although_its_append_fails(after: bool, take: str) -> None:
    store, gate, got = FaultyStore(MemoryStore()), Gate(), list[Any]()

    async def agent(ctx: RunContext) -> Any:
        # No text to end, so that the delivery is the next append of the run.
        await gate.wait()
        store.fail("append", times=1, after=after)
        if take == "steered":
            got.extend(one.content for one in await ctx.steered())
        else:
            async for message in ctx.steering():
                got.append(message.content)
                break
        yield "after"

    async with talk(agent, store=store) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.say("left", "m2", overlap="steer")
        gate.open()
        await one.terminal()
        assert await outcomes(one) == [("m2", "delivered", None)]
        await one.check()
    assert got == ["left"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_an_outcome_is_appended_once_although_its_append_fails(after: bool) -> None:
    store, gate, texts = FaultyStore(MemoryStore()), Gate(), list[str]()

    async def agent(ctx: RunContext) -> Any:
        texts.append(ctx.text)
        yield "text"
        await gate.wait()

    async with talk(agent, store=store) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.say("late", "m2", overlap="steer")
        gate.open()
        await one.terminal()
        store.fail("append", times=1, after=after)
        await one.ended(2)
        assert await outcomes(one) == [("m2", "undelivered", "finished")]
        await one.check()
    assert texts == ["go", "late"]

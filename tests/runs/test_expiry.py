"""Deadlines of questions: by the clock of the server, and never because a client left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from agentws import RunContext
from agentws.errors import AskExpired
from agentws.runs import ids
from agentws.testing.connect import connect

from .asking import answer, events_of, questions
from .harness import talk
from .nodes import memory_store, nodes

DAY = 86400.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day goes with the virtual clock of the loop."""

    def time_ns() -> int:
        return int((1_800_000_000 + asyncio.get_running_loop().time()) * 1e9)

    monkeypatch.setattr(ids, "time", SimpleNamespace(time_ns=time_ns))


async def waiting(ctx: RunContext) -> AsyncIterator[str]:
    try:
        yield f"{await ctx.ask('Which?', expires=600)}"
    except AskExpired:
        yield "too late"


@pytest.mark.parametrize("park", [1000.0, 0.05], ids=["in memory", "called again"])
async def test_a_question_expires_at_its_deadline(park: float) -> None:
    async with talk(waiting, park=park) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        assert asked["expiresAt"].startswith("2027-01-15T") and asked["expiresAt"].endswith("Z")
        await asyncio.sleep(590)
        await one.client.settle()
        assert not events_of(one.client, "interrupt.answered")
        await asyncio.sleep(20)
        assert await one.client.answer() == "too late"
        (expired,) = events_of(one.client, "interrupt.answered")
        assert expired["status"] == "cancelled"
        assert expired["metadata"] == {"agentws": {"expired": True}}
        assert (await one.client.ask(answer("a1", asked["id"], "x")))["code"] == "expired"
        await one.check()


async def test_an_answer_in_time_keeps_the_question_from_expiring() -> None:
    async with talk(waiting) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await one.client.ask(answer("a1", asked["id"], "this"))
        assert await one.client.answer() == "this"
        await asyncio.sleep(700)
        await one.client.settle()
        assert len(events_of(one.client, "interrupt.answered")) == 1
        await one.check()


async def test_the_next_node_that_opens_the_session_ends_a_question_that_expired() -> None:
    store = memory_store()
    async with nodes(waiting, 1, store=store) as (first,):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            (asked,) = await questions(client)
            session = client.session
    await asyncio.sleep(DAY)
    async with nodes(waiting, 1, store=store) as (second,):
        async with connect(second.app, f"/ws/chat?session={session}") as client:
            await client.until("welcome")
            late = await client.ask(answer("a1", asked["id"], "x"))
            assert late["code"] == "expired"
            assert await client.answer() == "too late"


async def test_nodes_that_end_a_question_at_the_same_time_end_it_once() -> None:
    async with nodes(waiting, 3) as each:
        async with connect(each[0].app) as client:
            await client.say("go", "m1")
            await questions(client)
            url = f"/ws/chat?session={client.session}"
            async with connect(each[1].app, url) as second, connect(each[2].app, url) as third:
                await asyncio.sleep(660)
                assert await client.answer() == "too late"
                for one in (second, third):
                    await one.settle()
            assert len(events_of(client, "interrupt.answered")) == 1

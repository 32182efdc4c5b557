"""Commands that come through another node while the owner of a session is dead.

They are in the log; the next owner applies them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from agentws import Agent, RunContext
from agentws.protocol.codec import decode_record
from agentws.protocol.events import AnyEvent
from agentws.testing.connect import Client, connect
from agentws.testing.laws import violations
from agentws.testing.oracle import check_client, check_log, read_log

from .harness import accepted
from .nodes import Node, nodes

LOSSY = pytest.mark.parametrize("lossy", [None, 1.0], ids=["bus", "no bus"])


class Worker(Agent):
    """Never finishes ``go``; answers everything else at once."""

    accepts_state = True
    answered: ClassVar[list[str]] = []

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        if ctx.text == "ask":
            Worker.answered.append(f"answer {await ctx.ask('What?')}")
            yield "thanks"
        elif ctx.text == "go":
            yield "begun"
            await asyncio.sleep(1e6)
        else:
            Worker.answered.append(ctx.text)
            yield f"fine, with {ctx.state}"


@asynccontextmanager
async def dead_owner(lossy: float | None, say: str = "go") -> AsyncIterator[tuple[Client, Node]]:
    """A client of a living node, in a session whose owner has died; the log is checked."""
    Worker.answered = []
    async with nodes(Worker, lossy=lossy) as (first, second):
        async with connect(first.app) as client:
            await client.say(say, "m1")
            await client.until("TEXT_MESSAGE_CONTENT" if say == "go" else "RUN_FINISHED")
            first.freeze()
            await client.reconnect(second.app)
            yield client, second
            await asyncio.sleep(10)
            first.thaw()
            await asyncio.sleep(20)
            await client.settle()
            epoch, records = await read_log(second.store.store, str(client.session))
            check_log(records, accepted=accepted(client.frames))
            check_client(epoch, records, client.frames, complete=True)
            assert not violations(records)


async def log_of(node: Node, client: Client) -> list[AnyEvent]:
    _, records = await read_log(node.store.store, str(client.session))
    return [decode_record(record.data).event for record in records]


@LOSSY
async def test_messages_are_answered_in_their_order(lossy: float | None) -> None:
    async with dead_owner(lossy) as (client, _):
        await client.say("two", "m2")
        await client.say("three", "m3")
        await client.until("RUN_ERROR", within=20)
        for _ in range(2):
            await client.until("RUN_FINISHED", within=20)
        assert Worker.answered == ["two", "three"]


@LOSSY
async def test_a_cancel_ends_the_run_as_cancelled(lossy: float | None) -> None:
    async with dead_owner(lossy) as (client, _):
        await client.ask({"type": "cancel", "id": "c1"})
        end = (await client.until("RUN_FINISHED", within=20))["event"]
        assert end["outcome"] == {"type": "cancelled"}


@LOSSY
async def test_a_message_that_interrupts_ends_the_run_and_is_answered(lossy: float | None) -> None:
    async with dead_owner(lossy) as (client, _):
        await client.say("rather this", "m2", overlap="interrupt")
        end = (await client.until("RUN_FINISHED", within=20))["event"]
        assert end["outcome"] == {"type": "cancelled"}
        await client.until("RUN_FINISHED", within=20)
        assert Worker.answered == ["rather this"]


@LOSSY
async def test_an_answer_is_given_to_the_agent_that_asked(lossy: float | None) -> None:
    async with dead_owner(lossy, "ask") as (client, _):
        asked = [one for one in client.events() if one["type"] == "RUN_FINISHED"][-1]
        interrupt = asked["outcome"]["interrupts"][0]["id"]
        await client.ask({"type": "answer", "id": "a1", "interrupt": interrupt, "payload": "tea"})
        await client.until("RUN_FINISHED", within=20)
        assert Worker.answered == ["answer tea"]


@LOSSY
async def test_a_message_that_steers_is_queued_and_answered(lossy: float | None) -> None:
    async with dead_owner(lossy) as (client, _):
        await client.say("and this", "m2", overlap="steer")
        steered = (await client.until("message.steered", within=20))["event"]
        assert (steered["outcome"], steered["reason"]) == ("undelivered", "interrupted")
        await client.until("RUN_FINISHED", within=20)
        assert Worker.answered == ["and this"]


@LOSSY
async def test_changes_of_the_queue_are_kept(lossy: float | None) -> None:
    async with dead_owner(lossy) as (client, _):
        for number in ("two", "three", "four"):
            await client.say(number, f"m-{number}")
        edited = {"type": "edit_queued", "id": "e1", "message": "m-two", "content": "TWO"}
        await client.ask(edited)
        await client.ask({"type": "promote", "id": "p1", "message": "m-four"})
        await client.ask({"type": "withdraw", "id": "w1", "message": "m-three"})
        for _ in range(2):
            await client.until("RUN_FINISHED", within=20)
        assert Worker.answered == ["four", "TWO"]


@LOSSY
async def test_changes_of_the_state_are_kept(lossy: float | None) -> None:
    async with dead_owner(lossy) as (client, _):
        patch = [{"op": "add", "path": "/seats", "value": 2}]
        await client.ask({"type": "state", "id": "s1", "patch": patch})
        await client.say("next", "m2")
        await client.until("RUN_ERROR", within=20)
        await client.until(lambda frame: "fine, with {'seats': 2}" in str(frame), within=20)
        await client.until("RUN_FINISHED", within=20)


@LOSSY
async def test_a_message_that_was_sent_twice_is_answered_once(lossy: float | None) -> None:
    async with dead_owner(lossy) as (client, _):
        once = await client.say("two", "m2")
        twice = await client.say("two", "m2")
        assert once["position"] == twice["position"]
        assert twice["duplicate"]
        await client.until("RUN_FINISHED", within=20)
        assert Worker.answered == ["two"]

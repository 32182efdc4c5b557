"""A cancel of an answer whose node was lost, before and during its next attempt."""

from __future__ import annotations

import asyncio

from agentws.testing.connect import connect

from .attempting import Trying, attempts_in, log_of, shown
from .nodes import nodes


async def test_a_cancel_that_came_while_the_owner_was_dead_ends_the_run_as_cancelled() -> None:
    class Stopped(Trying):
        pass

    async with nodes(Stopped) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            first.freeze()
            await client.reconnect(second.app)
            await client.ask({"type": "cancel", "id": "c1"})
            end = (await client.until("RUN_FINISHED", within=30))["event"]
            assert end["outcome"] == {"type": "cancelled"}
            await asyncio.sleep(10)
            assert attempts_in(await log_of(second, client)) == [1]
    assert len(Stopped.runs) == 1


async def test_a_cancel_that_names_the_lost_run_stops_the_attempt_after_it() -> None:
    class Late(Trying):
        hangs = 2

    async with nodes(Late) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            lost = (await client.until("TEXT_MESSAGE_CONTENT"))["run"]
            first.freeze()
            await client.reconnect(second.app)
            await client.until(lambda frame: "attempt 2" in str(frame), within=30)
            await client.ask({"type": "cancel", "id": "c1", "run": lost})
            end = (await client.until("RUN_FINISHED", within=30))["event"]
            assert end["outcome"] == {"type": "cancelled"}
            await log_of(second, client)


async def test_a_cancel_before_the_next_attempt_begins_brings_the_first_text_back() -> None:
    class Waiting(Trying):
        pass

    async with nodes(Waiting, max_runs=1) as (first, second):
        async with connect(first.app) as client, connect(second.app) as other:
            # It has the only place for a run of the second node.
            await other.say("go", "b1")
            await other.until("TEXT_MESSAGE_CONTENT")
            await client.say("go", "m1")
            lost = (await client.until("TEXT_MESSAGE_CONTENT"))["run"]
            first.freeze()
            await client.reconnect(second.app)
            await client.until("message.accepted", within=30)
            await client.ask({"type": "cancel", "id": "c1", "run": lost})
            await client.until(lambda frame: bool(frame.get("event", {}).get("reload")))
            await log_of(second, client)
            async with connect(second.app, f"/ws/chat?session={client.session}") as late:
                await late.until("MESSAGES_SNAPSHOT")
                # The oracle compares it with the fold of the log.
                await log_of(second, late)
            assert await shown(second, client) == [("user", "go"), ("assistant", "attempt 1 ")]
    assert Waiting.runs[0][0] == Waiting.runs[1][0] == 1 and len(Waiting.runs) == 2

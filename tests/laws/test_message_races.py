"""A message in a race with another one, or with the start of a run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentws.testing.agents import Gate

from .race import code, race, script


async def test_an_interrupting_message_that_races_with_the_start_of_a_run_goes_first(
    tmp_path: Path,
) -> None:
    """It is appended first: the decided run has not begun, so there is none to cancel."""
    async with race(tmp_path, script(Gate())) as one:
        first = one.here.say("quick", "m1")
        other = one.there.say("quick", "m2", overlap="interrupt")
        await one.overtaken("RUN_STARTED", first, other)
        assert await one.ends() == [(id, "success") for id in ("m0", "m2", "m1")]


async def test_a_run_begins_although_another_message_races_with_its_start(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        first = one.here.say("quick", "m1")
        await one.overtaken("RUN_STARTED", first, one.there.say("quick", "m2"))
        assert await one.ends() == [(id, "success") for id in ("m0", "m1", "m2")]


@pytest.mark.parametrize("overlap", ["queue", "reject", "interrupt"])
async def test_reject_is_exact_when_another_node_accepts(tmp_path: Path, overlap: str) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate)) as one:
        rejecting = one.here.say("quick", "m1", overlap="reject")
        other = one.there.say("wait", "m2", overlap=overlap)
        reply = await one.overtaken("message.accepted", rejecting, other)
        assert (code(reply), reply["retryable"]) == ("run_active", True)
        gate.open()
        assert await one.ends() == [("m0", "success"), ("m2", "success")]


async def test_the_limit_of_the_queue_holds_across_nodes(tmp_path: Path) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate)) as one:
        await one.here.say("wait", "m1")
        await one.here.say("quick", "m2")
        await one.until_open("m1", queue=1)
        await one.there.until(lambda frame: "m2" in str(frame))
        last = one.here.say("quick", "m3")
        reply = await one.overtaken("message.accepted", last, one.there.say("quick", "m4"))
        assert (code(reply), reply["retryable"]) == ("queue_full", True)
        gate.open()
        assert await one.ends() == [(id, "success") for id in ("m0", "m1", "m2", "m4")]


async def test_two_messages_that_race_are_both_accepted(tmp_path: Path) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate)) as one:
        await one.here.say("wait", "m1")
        await one.until_open("m1")
        await one.there.until("TEXT_MESSAGE_CONTENT")
        reply = await one.overtaken(
            "message.accepted", one.here.say("quick", "m2"), one.there.say("quick", "m3")
        )
        assert code(reply) == "accepted"
        gate.open()
        assert await one.ends() == [(id, "success") for id in ("m0", "m1", "m3", "m2")]


async def test_a_resend_through_another_node_is_a_duplicate(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        again = asyncio.ensure_future(one.there.say("quick", "m1"))
        reply = await one.overtaken("message.accepted", one.here.say("quick", "m1"), again)
        first = await again
        assert (code(first), first.get("duplicate")) == ("accepted", None)
        assert (code(reply), reply.get("duplicate")) == ("accepted", True)
        assert reply["position"] == first["position"]
        assert await one.ends() == [("m0", "success"), ("m1", "success")]


async def test_another_body_under_the_same_id_through_another_node_is_a_conflict(
    tmp_path: Path,
) -> None:
    async with race(tmp_path, script(Gate())) as one:
        sending = one.here.say("quick", "m1")
        reply = await one.overtaken("message.accepted", sending, one.there.say("other", "m1"))
        assert (code(reply), reply["retryable"]) == ("idempotency_conflict", False)
        assert await one.ends() == [("m0", "success"), ("m1", "success")]

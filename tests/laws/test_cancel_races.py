"""A stop in a race with the start or the end of a run, or with another stop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentws.testing.agents import Gate
from agentws.testing.connect import connect

from .race import SESSION, code, occupied, opened, race, script


@pytest.mark.parametrize("target", ["run", "message", None])
async def test_a_cancel_that_races_with_the_end_of_its_run_has_no_effect(
    tmp_path: Path, target: str | None
) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate)) as one:
        await one.here.say("wait", "m1")
        run = (await one.here.until("RUN_STARTED"))["run"]
        await gate.reached()
        named = {} if target is None else {target: run if target == "run" else "m1"}
        stop = one.ask(one.here, "cancel", **named)
        reply = await one.overtaken("run.cancelling", stop, opened(gate, one))
        assert code(reply) == "accepted"
        assert "run.cancelling" not in await one.kinds()
        assert await one.ends() == [("m0", "success"), ("m1", "success")]


@pytest.mark.parametrize("target", ["run", "message", None])
async def test_a_late_cancel_never_stops_the_next_run(tmp_path: Path, target: str | None) -> None:
    gate, second = Gate(), Gate()
    async with race(tmp_path, script(gate, second)) as one:
        await one.here.say("wait", "m1")
        run = (await one.here.until("RUN_STARTED"))["run"]
        await gate.reached()
        await one.there.say("wait too", "m2")
        await one.until_open("m1", queue=1)
        named = {} if target is None else {target: run if target == "run" else "m1"}
        stop = one.ask(one.here, "cancel", **named)
        reply = await one.overtaken("run.cancelling", stop, opened(gate, one, "m2"))
        assert code(reply) == "accepted"
        await opened(second, one)
        assert await one.ends() == [(f"m{number}", "success") for number in range(3)]


async def test_a_cancel_that_waits_for_its_turn_never_stops_the_next_run(tmp_path: Path) -> None:
    """Another command of its node is in progress: it cancels the run that was active before."""
    gate, second = Gate(), Gate()
    async with race(tmp_path, script(gate, second)) as one:
        await occupied(gate, one)
        async with connect(one.here.app, f"/ws/chat?session={SESSION}") as beside:
            await beside.until("welcome")
            one.store.hold("message.accepted")
            sending = asyncio.ensure_future(beside.say("quick", "m3"))
            await one.store.held()
            stop = asyncio.ensure_future(one.ask(one.here, "cancel"))
            await opened(gate, one, "m2")
            one.store.let_go()
            assert code(await stop) == code(await sending) == "accepted"
        await opened(second, one)
        assert await one.ends() == [(f"m{number}", "success") for number in range(4)]


async def test_two_cancels_from_two_nodes_have_one_effect(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        await one.here.say("wait", "m1")
        await one.until_open("m1")
        await one.there.until("TEXT_MESSAGE_CONTENT")
        stop = one.ask(one.here, "cancel")
        # The second one takes effect, so that the run has ended when the first is appended.
        reply = await one.overtaken(
            "run.cancelling", stop, one.ask(one.there, "cancel"), one.until_open(None)
        )
        assert code(reply) == "accepted"
        assert (await one.kinds()).count("run.cancelling") == 1
        assert await one.ends() == [("m0", "success"), ("m1", "cancelled")]


async def test_a_cancel_of_a_queued_message_that_races_with_its_run_stops_it(
    tmp_path: Path,
) -> None:
    """The message should be withdrawn; its run has begun meanwhile, so the run is cancelled."""
    gate, second = Gate(), Gate()
    async with race(tmp_path, script(gate, second)) as one:
        await occupied(gate, one)
        stop = one.ask(one.here, "cancel", message="m2")
        reply = await one.overtaken("message.withdrawn", stop, opened(gate, one, "m2"))
        assert code(reply) == "accepted"
        assert await one.ends() == [("m0", "success"), ("m1", "success"), ("m2", "cancelled")]
        assert "message.withdrawn" not in await one.kinds()


async def test_a_cancel_of_a_message_that_races_with_the_start_of_its_run_stops_it(
    tmp_path: Path,
) -> None:
    async with race(tmp_path, script(Gate())) as one:
        sending = one.here.say("wait", "m1")
        await one.overtaken("RUN_STARTED", sending, one.ask(one.there, "cancel", message="m1"))
        kinds = await one.kinds()
        assert ("message.withdrawn" in kinds) != ("run.cancelling" in kinds)
        assert ("m1", "success") not in await one.ends()

"""Commands on a node that has not read the newest events."""

from __future__ import annotations

from pathlib import Path

from agentws.testing.agents import Gate

from .race import code, opened, race, script


async def test_a_cancel_on_a_node_that_has_not_read_the_run_stops_it(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate()), lossy=True) as one:
        await one.here.say("wait", "m1")
        await one.until_open("m1")
        assert code(await one.ask(one.there, "cancel", message="m1")) == "accepted"
        assert await one.ends() == [("m0", "success"), ("m1", "cancelled")]


async def test_a_withdrawal_on_a_node_that_has_not_read_the_message_works(tmp_path: Path) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate), lossy=True) as one:
        await one.here.say("wait", "m1")
        await one.here.say("quick", "m2")
        assert code(await one.ask(one.there, "withdraw", message="m2")) == "accepted"
        gate.open()
        assert await one.ends() == [("m0", "success"), ("m1", "success")]


async def test_reject_is_exact_on_a_node_that_has_not_read_the_end_of_the_run(
    tmp_path: Path,
) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate), lossy=True) as one:
        await one.here.say("wait", "m1")
        # After the refusal this node knows the run; the ring about its end is lost.
        assert code(await one.there.say("quick", "m2", overlap="reject")) == "run_active"
        await opened(gate, one)
        assert code(await one.there.say("quick", "m3", overlap="reject")) == "accepted"
        assert await one.ends() == [("m0", "success"), ("m1", "success"), ("m3", "success")]

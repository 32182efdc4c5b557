"""A withdrawal in a race with the run of its message, or with another withdrawal."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agentws.testing.agents import Gate

from .race import code, occupied, opened, race, script


async def test_a_withdrawal_that_loses_the_race_with_its_run_is_not_found(tmp_path: Path) -> None:
    gate, second = Gate(), Gate()
    async with race(tmp_path, script(gate, second)) as one:
        await occupied(gate, one)
        taken_back = one.ask(one.here, "withdraw", message="m2")
        reply = await one.overtaken("message.withdrawn", taken_back, opened(gate, one, "m2"))
        assert (code(reply), reply["retryable"]) == ("not_found", False)
        await opened(second, one)
        assert await one.ends() == [(f"m{number}", "success") for number in range(3)]
        assert "message.withdrawn" not in await one.kinds()


async def test_a_run_that_loses_the_race_with_a_withdrawal_does_not_begin(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        sending = one.here.say("quick", "m1")
        taken_back = one.ask(one.there, "withdraw", message="m1")
        accepted = await one.overtaken("RUN_STARTED", sending, taken_back)
        assert code(accepted) == "accepted"
        assert await one.ends() == [("m0", "success")]
        assert (await one.kinds()).count("message.withdrawn") == 1


async def test_the_next_message_runs_instead_of_a_withdrawn_one(tmp_path: Path) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate)) as one:
        await one.here.say("wait", "m1")
        await gate.reached()
        for id in ("m2", "m3"):
            await one.there.say("quick", id)
        await one.until_open("m1", queue=2)
        one.store.hold("RUN_STARTED")
        gate.open()
        await one.store.held()
        assert code(await one.ask(one.there, "withdraw", message="m2")) == "accepted"
        one.store.let_go()
        assert await one.ends() == [(id, "success") for id in ("m0", "m1", "m3")]


async def test_the_second_of_two_withdrawals_from_two_nodes_is_not_found(tmp_path: Path) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate)) as one:
        await one.here.say("wait", "m1")
        await one.here.say("quick", "m2")
        await one.there.until(lambda frame: "m2" in str(frame))
        first = one.ask(one.here, "withdraw", message="m2")
        second = asyncio.ensure_future(one.ask(one.there, "withdraw", message="m2"))
        reply = await one.overtaken("message.withdrawn", first, second)
        assert code(await second) == "accepted"
        assert code(reply) == "not_found"
        gate.open()
        assert (await one.kinds()).count("message.withdrawn") == 1

"""A clear of the history in a race with a run, a message or answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agentws.testing.agents import Gate

from .race import code, race, script


async def test_a_clear_that_loses_the_race_with_a_run_is_refused(tmp_path: Path) -> None:
    gate = Gate()
    async with race(tmp_path, script(gate)) as one:
        clear = one.ask(one.here, "command", name="clear")
        other = one.there.say("wait", "m1")
        reply = await one.overtaken("history.cleared", clear, other)
        assert (code(reply), reply["retryable"]) == ("run_active", True)
        gate.open()
        assert "history.cleared" not in await one.kinds()


async def test_a_clear_that_races_with_a_whole_run_comes_after_it(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        clear = one.ask(one.here, "command", name="clear")
        sending, over = one.there.say("quick", "m1"), one.until_open(None)
        reply = await one.overtaken("history.cleared", clear, sending, asyncio.sleep(1.0), over)
        assert code(reply) == "accepted"
        assert (await one.kinds())[-1] == "history.cleared"


async def test_a_message_that_races_with_a_clear_is_answered(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        sending = one.here.say("quick", "m1")
        clear = one.ask(one.there, "command", name="clear")
        assert code(await one.overtaken("message.accepted", sending, clear)) == "accepted"
        assert await one.ends() == [("m0", "success"), ("m1", "success")]


async def test_a_run_that_resumes_with_answers_and_a_clear_exclude_each_other(
    tmp_path: Path,
) -> None:
    """Either the answers are cleared and no run resumes, or it does and nothing is cleared."""
    async with race(tmp_path, script(Gate())) as one:
        await one.here.say("ask", "m1")
        await one.there.until(lambda frame: "q1" in str(frame))
        answer = one.ask(one.here, "answer", interrupt="q1", payload="yes")
        clear = one.ask(one.there, "command", name="clear")
        await one.overtaken("RUN_STARTED", answer, clear)
        kinds = await one.kinds()
        assert kinds.count("RUN_STARTED") == (2 if "history.cleared" in kinds else 3)

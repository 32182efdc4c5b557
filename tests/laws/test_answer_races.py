"""An answer in a race with another one, or with a clear of the history."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agentws.testing.agents import Gate

from .race import code, race, script


async def test_the_first_of_two_answers_from_two_nodes_wins(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        await one.here.say("ask", "m1")
        await one.there.until(lambda frame: "q1" in str(frame))
        mine = one.ask(one.here, "answer", interrupt="q1", payload="mine")
        theirs = asyncio.ensure_future(
            one.ask(one.there, "answer", interrupt="q1", payload="theirs")
        )
        reply = await one.overtaken("interrupt.answered", mine, theirs)
        assert code(await theirs) == "accepted"
        assert (code(reply), reply["retryable"]) == ("already_answered", False)
        answers = [one for one in await one.log() if one["type"] == "interrupt.answered"]
        assert [one["payload"] for one in answers] == ["theirs"]


async def test_the_same_answer_from_two_nodes_is_deduplicated(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        await one.here.say("ask", "m1")
        await one.there.until(lambda frame: "q1" in str(frame))
        mine = one.ask(one.here, "answer", interrupt="q1", payload="yes")
        theirs = one.ask(one.there, "answer", interrupt="q1", payload="yes")
        reply = await one.overtaken("interrupt.answered", mine, theirs)
        assert (code(reply), reply.get("duplicate")) == ("accepted", True)
        assert (await one.kinds()).count("interrupt.answered") == 1


async def test_an_answer_that_loses_the_race_with_a_clear_is_not_found(tmp_path: Path) -> None:
    async with race(tmp_path, script(Gate())) as one:
        await one.here.say("ask", "m1")
        await one.there.until(lambda frame: "q1" in str(frame))
        answer = one.ask(one.here, "answer", interrupt="q1", payload="yes")
        clear = one.ask(one.there, "command", name="clear")
        reply = await one.overtaken("interrupt.answered", answer, clear)
        assert (code(reply), reply["retryable"]) == ("not_found", False)
        assert "interrupt.answered" not in await one.kinds()

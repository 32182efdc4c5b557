"""Cancelling a run: possible at any moment, has one effect, and never stops the next run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agentws.agents.run_context import RunContext
from agentws.protocol import events as e
from agentws.protocol.frames import Cancel
from agentws.testing.agents import Gate, Hang, Script, Step
from agentws.testing.connect import connect, kind

from .harness import talk


async def test_a_second_cancel_of_a_run_has_no_effect() -> None:
    async with talk(Script("partial", Hang())) as one:
        await one.client.say("go", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        for number in range(3):
            answer = await one.client.ask({"type": "cancel", "id": f"c{number}"})
            assert kind(answer) == "accepted"
        assert (await one.ended(1))[0]["outcome"] == {"type": "cancelled"}
        assert (await one.kinds()).count("run.cancelling") == 1
        await one.check()


@pytest.mark.parametrize("by", ["run", "message"])
async def test_a_cancel_can_name_its_run_or_its_message(by: str) -> None:
    async with talk(Script(Hang())) as one:
        await one.client.say("go", "m1")
        started = await one.client.until("RUN_STARTED")
        target = started["run"] if by == "run" else "m1"
        await one.client.ask({"type": "cancel", "id": "c1", by: target})
        assert (await one.terminal())["event"]["outcome"] == {"type": "cancelled"}
        await one.check()


async def test_a_late_cancel_does_not_stop_the_next_run() -> None:
    gate = Gate()
    script = Script(named={"first": ["first"], "second": [gate, "second"]})
    async with talk(script) as one:
        await one.client.say("first", "m1")
        run = (await one.terminal())["run"]
        await one.client.say("second", "m2")
        await gate.reached()
        for target in ({"run": run}, {"message": "m1"}, {"run": "run_none"}):
            answer = await one.client.ask({"type": "cancel", "id": "c", **target})
            assert kind(answer) == "accepted"
        gate.open()
        assert await one.client.answer() == "second"
        assert "run.cancelling" not in await one.kinds()


async def test_a_cancel_without_an_active_run_has_no_effect() -> None:
    async with talk(Script("fine")) as one:
        assert kind(await one.client.ask({"type": "cancel", "id": "c"})) == "accepted"
        await one.client.say("go", "m1")
        assert await one.client.answer() == "fine"
        assert kind(await one.client.ask({"type": "cancel", "id": "c"})) == "accepted"
        await one.check()


async def test_a_cancel_withdraws_a_message_whose_run_has_not_begun() -> None:
    gate = Gate()
    script = Script(gate)
    async with talk(script) as one:
        await one.client.say("one", "m1")
        await one.client.until("RUN_STARTED")
        await one.client.say("two", "m2")
        await one.client.ask({"type": "cancel", "id": "c1", "message": "m2"})
        gate.open()
        await one.terminal()
        await one.client.say("three", "m3")
        await one.terminal()
        assert script.texts == ["one", "three"]
        await one.check()


async def test_a_send_with_an_immediate_cancel_ends_cancelled_or_withdrawn() -> None:
    """In any order of handling, the message ends cancelled or withdrawn."""
    script = Script("partial", Hang())
    async with talk(script) as one:
        for number in range(10):
            await one.client.send({"type": "send", "id": f"m{number}", "content": "go"})
            await one.client.send({"type": "cancel", "id": f"c{number}", "message": f"m{number}"})
        await one.client.until(lambda frame: frame.get("reply") == "c9")
        await one.client.say("last", "m10")
        await one.client.ask({"type": "cancel", "id": "c10", "message": "m10"})
        await asyncio.sleep(1)
        await one.client.settle()
        await one.check()


async def test_any_connection_of_the_session_can_cancel_the_run() -> None:
    async with talk(Script("partial", Hang())) as one:
        await one.client.say("go", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        async with connect(one.client.app, f"/ws/chat?session={one.session}") as other:
            await other.until("TEXT_MESSAGE_CONTENT")
            await other.ask({"type": "cancel", "id": "c1"})
            assert kind(await other.until("RUN_FINISHED"))
        assert (await one.terminal())["event"]["outcome"] == {"type": "cancelled"}


async def test_a_cancelled_run_closes_everything_open_before_its_end() -> None:
    steps: list[Step] = [e.StepStarted("s"), e.ToolCallStart("c", "look"), "text", Hang()]
    async with talk(Script(*steps)) as one:
        await one.client.say("go", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        await one.client.ask({"type": "cancel", "id": "c1"})
        await one.terminal()
        await one.check()
        kinds = await one.kinds()
        assert kinds[-4:] == [
            "TEXT_MESSAGE_END",
            "TOOL_CALL_END",
            "STEP_FINISHED",
            "RUN_FINISHED",
        ]


async def test_an_agent_can_cancel_its_own_run() -> None:
    """The cancel comes while the agent is not waiting, and must not cancel the end of its run."""

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "partial"
        await asyncio.sleep(0.01)
        session = await one.gateway.sessions.find(ctx.session.id)
        await one.gateway.inbox.cancel(session, Cancel())

    async with talk(agent) as one:
        for number in range(3):
            await one.client.say("go", f"m{number}")
            assert (await one.terminal())["event"]["outcome"] == {"type": "cancelled"}
        await one.check()


async def test_clear_is_refused_while_a_run_is_active() -> None:
    gate = Gate()
    async with talk(Script(gate, "fine")) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        refused = await one.client.ask({"type": "command", "id": "x", "name": "clear"})
        assert refused["code"] == "run_active"
        gate.open()
        await one.terminal()
        await one.client.ask({"type": "command", "id": "y", "name": "clear"})
        fold = await one.check(complete=False)
        assert fold.messages == []

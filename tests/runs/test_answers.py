"""Runs that end with questions (interrupts), and the runs that resume with the answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentws.agents.run_context import RunContext
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.testing.agents import Call, Script, Step
from agentws.testing.connect import connect, kind

from .harness import Talk, talk
from .nodes import nodes


def asking(*ids: str) -> list[Step]:
    questions = [m.Interrupt(id, "approval", message="May I?") for id in ids]
    return ["May I? ", e.RunFinished("", "", outcome=m.InterruptOutcome(questions))]


async def resumed(ctx: RunContext) -> str:
    return ", ".join(f"{one.interrupt_id}={one.payload}" for one in ctx.answers) or "no answers"


def script(*ids: str) -> Script:
    return Script(named={"go": asking(*ids), "": [Call(resumed)], "other": ["other"]})


async def ask(one: Talk) -> None:
    await one.client.say("go", "m1")
    assert (await one.terminal())["event"]["outcome"]["type"] == "interrupt"


def answer(id: str, interrupt: str, **members: Any) -> dict[str, Any]:
    return {"type": "answer", "id": id, "interrupt": interrupt, **members}


async def test_a_run_resumes_with_the_answer_to_its_question() -> None:
    async with talk(script("q1")) as one:
        await ask(one)
        await one.client.ask(answer("a1", "q1", payload="yes"))
        assert await one.client.answer() == "q1=yes"
        started = [event for event in one.client.events() if event["type"] == "RUN_STARTED"]
        assert started[-1]["input"]["resume"] == [
            {"interruptId": "q1", "status": "resolved", "payload": "yes"}
        ]
        await one.check()


async def test_a_run_resumes_once_every_question_is_answered() -> None:
    async with talk(script("q1", "q2")) as one:
        await ask(one)
        await one.client.ask(answer("a2", "q2", payload=2))
        await asyncio.sleep(5)
        await one.client.settle()
        assert sum(event["type"] == "RUN_STARTED" for event in one.client.events()) == 1
        await one.client.ask(answer("a1", "q1", payload=1))
        assert await one.client.answer() == "q2=2, q1=1"
        await one.check()


async def test_the_first_answer_to_a_question_wins() -> None:
    async with talk(script("q1")) as one:
        await ask(one)
        async with connect(one.client.app, f"/ws/chat?session={one.session}") as other:
            await other.until("welcome")
            answers = await asyncio.gather(
                one.client.ask(answer("a1", "q1", payload="yes")),
                other.ask(answer("b1", "q1", payload="no")),
            )
        kinds = sorted(kind(each) for each in answers)
        assert kinds == ["accepted", "error"]
        refused = next(each for each in answers if kind(each) == "error")
        assert (refused["code"], refused["retryable"]) == ("already_answered", False)
        await one.client.until("RUN_STARTED")
        assert (await one.kinds()).count("interrupt.answered") == 1
        await one.terminal()
        await one.check()


async def test_the_same_answer_again_is_a_duplicate() -> None:
    async with talk(script("q1", "q2")) as one:
        await ask(one)
        first = await one.client.ask(answer("a1", "q1", payload="yes"))
        again = await one.client.ask(answer("a2", "q1", payload="yes"))
        assert (again["duplicate"], again["position"]) == (True, first["position"])


@pytest.mark.parametrize("interrupt", ["never", "", "x" * 200])
async def test_an_answer_to_an_unknown_question_is_not_found(interrupt: str) -> None:
    async with talk(script("q1")) as one:
        await ask(one)
        refused = await one.client.ask(answer("a1", interrupt))
        assert refused["code"] in ("not_found", "bad_request")
        await one.check()


async def test_a_run_resumes_after_its_question_was_cancelled() -> None:
    async with talk(script("q1")) as one:
        await ask(one)
        await one.client.ask(answer("a1", "q1", status="cancelled"))
        assert await one.client.answer() == "q1=None"


async def test_clear_removes_open_questions() -> None:
    async with talk(script("q1")) as one:
        await ask(one)
        await one.client.ask({"type": "command", "id": "c", "name": "clear"})
        assert (await one.client.ask(answer("a1", "q1")))["code"] == "not_found"


async def test_a_message_can_be_sent_before_the_answer_to_a_question() -> None:
    async with talk(script("q1")) as one:
        await ask(one)
        await one.client.say("other", "m2")
        assert await one.client.answer() == "other"
        await one.client.ask(answer("a1", "q1", payload="yes"))
        assert await one.client.answer() == "q1=yes"
        await one.check()


async def test_a_snapshot_has_the_open_question() -> None:
    async with talk(script("q1")) as one:
        await ask(one)
        async with connect(one.client.app, f"/ws/chat?session={one.session}") as other:
            snapshot = await other.until("MESSAGES_SNAPSHOT")
        assert "q1" in str(snapshot["event"]["metadata"])


@pytest.mark.parametrize("lossy", [None, 1.0], ids=["bus", "no bus"])
async def test_an_answer_through_another_node_continues_the_run(lossy: float | None) -> None:
    async with nodes(script("q1"), lossy=lossy) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("RUN_FINISHED")
            await client.reconnect(second.app)
            await client.ask(answer("a1", "q1", payload="yes"))
            assert await client.answer() == "q1=yes"

"""A second message during a run: queue, interrupt, reject."""

from __future__ import annotations

import asyncio
from typing import Any

from agentws.agents.run_context import RunContext
from agentws.protocol import messages as m
from agentws.testing.agents import Call, Gate, Hang, Script
from agentws.testing.connect import kind

from .harness import talk


async def test_queued_messages_run_in_order() -> None:
    gate = Gate()
    script = Script("a", gate)
    async with talk(script) as one:
        for number in range(5):
            await one.client.say(f"text {number}", f"m{number}")
        gate.open()
        await one.ended(5)
        assert script.texts == [f"text {number}" for number in range(5)]
        await one.check()


async def test_a_run_can_read_the_conversation_before_it() -> None:
    seen: list[list[tuple[str, Any]]] = []

    async def look(ctx: RunContext) -> str:
        history = await ctx.history()
        seen.append([(one.role_name, one.content) for one in map(_Plain, history)])
        return "answer"

    async with talk(Script(Call(look))) as one:
        await one.client.say("one", "m1")
        await one.client.say("two", "m2")
        await one.ended(2)
    assert seen[0] == [("UserMessage", "one")]
    assert seen[1] == [
        ("UserMessage", "one"),
        ("AssistantMessage", "answer"),
        ("UserMessage", "two"),
    ]


class _Plain:
    def __init__(self, message: m.Message) -> None:
        self.role_name = type(message).__name__
        self.content = message.content


async def test_an_interrupting_message_keeps_the_partial_answer_and_runs_next() -> None:
    script = Script(named={"slow": ["partial", Hang()], "other": ["other"], "now": ["now"]})
    async with talk(script) as one:
        await one.client.say("slow", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        await one.client.say("other", "m2")
        await one.client.say("now", "m3", overlap="interrupt")
        outcomes = await one.ended(3)
        assert [event["outcome"]["type"] for event in outcomes] == [
            "cancelled",
            "success",
            "success",
        ]
        assert script.texts == ["slow", "now", "other"]
        fold = await one.check()
        partial = next(one for one in fold.messages if one.content == "partial")
        assert partial.metadata == {"agentws": {"status": "cancelled"}}


async def test_an_interrupting_message_without_an_active_run_is_an_ordinary_one() -> None:
    async with talk(Script("fine")) as one:
        await one.client.say("now", "m1", overlap="interrupt")
        assert await one.client.answer() == "fine"
        await one.check()


async def test_overlap_reject_is_refused_while_a_run_is_active() -> None:
    gate = Gate()
    async with talk(Script(gate, "fine")) as one:
        await one.client.say("one", "m1")
        refused = await one.client.say("two", "m2", overlap="reject")
        assert (refused["code"], refused["retryable"]) == ("run_active", True)
        gate.open()
        await one.terminal()
        assert kind(await one.client.say("two", "m2", overlap="reject")) == "accepted"
        await one.terminal()
        await one.check()


async def test_a_late_resend_is_accepted_as_a_duplicate() -> None:
    """A resend is a duplicate even with a full queue or an active run."""
    gate = Gate()
    async with talk(Script(gate), max_queued=1) as one:
        first = await one.client.say("one", "m1", overlap="reject")
        await one.client.until("RUN_STARTED")
        second = await one.client.say("two", "m2")
        refused = await one.client.say("three", "m3")
        assert (refused["code"], refused["retryable"]) == ("queue_full", True)
        for _ in range(3):
            again = await one.client.say("one", "m1", overlap="reject")
            assert (again["duplicate"], again["position"]) == (True, first["position"])
            again = await one.client.say("two", "m2")
            assert (again["duplicate"], again["position"]) == (True, second["position"])
        gate.open()
        await one.ended(2)
        await one.check()


async def test_the_same_id_with_another_body_is_an_idempotency_conflict() -> None:
    async with talk(Script("fine")) as one:
        await one.client.say("one", "m1")
        await one.terminal()
        for other in ({"content": "two"}, {"content": "one", "metadata": {"a": 1}}):
            answer = await one.client.ask({"type": "send", "id": "m1", **other})
            assert (answer["code"], answer["retryable"]) == ("idempotency_conflict", False)
        assert "duplicate" in await one.client.say("one", "m1")
        await one.check()


async def test_fifty_concurrent_resends_are_deduplicated() -> None:
    script = Script("fine")
    async with talk(script, max_queued=100) as one:
        for _ in range(50):
            await one.client.send({"type": "send", "id": "m1", "content": "one"})
        replies = [await one.client.until("accepted") for _ in range(50)]
        assert sum("duplicate" not in reply for reply in replies) == 1
        assert len({reply["position"] for reply in replies}) == 1
        await one.client.say("two", "m2")
        await one.client.settle()
        await one.check(complete=False)
        assert script.texts == ["one", "two"]


async def test_a_queued_message_can_be_withdrawn() -> None:
    gate = Gate()
    script = Script(gate)
    async with talk(script) as one:
        await one.client.say("one", "m1")
        await one.client.until("RUN_STARTED")
        await one.client.say("two", "m2")
        await one.client.ask({"type": "withdraw", "id": "w1", "message": "m2"})
        again = await one.client.ask({"type": "withdraw", "id": "w2", "message": "m2"})
        assert again["code"] == "not_found"
        running = await one.client.ask({"type": "withdraw", "id": "w3", "message": "m1"})
        assert running["code"] == "not_found"
        gate.open()
        await one.terminal()
        await asyncio.sleep(1)
        assert script.texts == ["one"]
        await one.check(complete=False)


async def test_a_message_is_answered_by_the_agent_that_it_names() -> None:
    agents = {"first": Script("from first"), "second": Script("from second")}
    async with talk(agents) as one:
        await one.client.say("hi", "m1")
        assert await one.client.answer() == "from first"
        await one.client.say("hi", "m2", agent="second")
        assert await one.client.answer() == "from second"
        unknown = await one.client.say("hi", "m3", agent="third")
        assert (unknown["code"], unknown["expected"]) == ("bad_request", "one of first, second")
        await one.check()


async def test_a_new_session_gets_the_agent_that_its_client_names() -> None:
    agents = {"first": Script("from first"), "second": Script("from second")}
    async with talk(agents, url="/ws/chat?agent=second") as one:
        assert one.client.frames[0]["agent"] == "second"
        await one.client.say("hi", "m1")
        assert await one.client.answer() == "from second"


async def test_active_runs_never_exceed_max_runs() -> None:
    gate = Gate()
    script = Script(named={"hold": [gate], "next": ["fine"]})
    async with talk(script, max_runs=1) as one:
        await one.client.say("hold", "m1")
        await gate.reached()
        other = await type(one.client)(one.client.app).open()
        await other.until("welcome")
        await other.say("next", "m2")
        await asyncio.sleep(5)
        assert script.texts == ["hold"]
        gate.open()
        assert await other.answer() == "fine"
        await other.aclose()
        await one.check(complete=False)

"""A handoff: another agent goes on in the same run, and has the conversation from then on."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from agentws import RunContext
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.runs import engine
from agentws.testing.agents import Call, Gate, Script
from agentws.testing.agui import runs_of, verify
from agentws.testing.connect import connect, kind

from .harness import Talk, talk
from .nodes import nodes


async def billing(ctx: RunContext) -> Any:
    by = ctx.handed_over and (ctx.handed_over.by, ctx.handed_over.reason)
    yield f"{ctx.agent} for {by}: {ctx.text}"


async def support(ctx: RunContext) -> Any:
    yield "One moment. "
    await ctx.handoff("billing", "It is about money.")


async def ended(t: Talk, content: str = "where is my invoice?", id: str = "m1") -> dict[str, Any]:
    """Sends a message, and returns the terminal event of its run; every run must be legal."""
    await t.client.say(content, id)
    terminal = (await t.terminal())["event"]
    for run in runs_of(await t.log()).values():
        verify(run)
    await t.check()
    return dict(terminal)


async def test_the_other_agent_goes_on_in_the_same_run() -> None:
    async with talk({"support": support, "billing": billing}) as t:
        terminal = await ended(t)
        assert terminal["outcome"]["type"] == "success"
        said = "billing for ('support', 'It is about money.'): where is my invoice?"
        assert await t.texts() == ["One moment. ", said]
        kinds = await t.kinds()
        assert kinds.count("RUN_STARTED") == 1
        at = kinds.index("agent.chosen")
        assert kinds[at - 1 : at + 2] == ["TEXT_MESSAGE_END", "agent.chosen", "session.updated"]
        chosen = next(one for one in t.client.events() if one["type"] == "agent.chosen")
        assert (chosen["agent"], chosen["reason"]) == ("billing", "It is about money.")


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (5, "invalid_event"),
        ({"a": 1}, "invalid_event"),
        ("\ud800", "invalid_event"),
        ("x" * 300_000, "too_large"),
    ],
    ids=["a number", "a dict", "no Unicode", "too large"],
)
async def test_a_reason_that_no_event_can_have_ends_the_run_and_the_session_stays_readable(
    reason: Any, code: str
) -> None:
    async def giving(ctx: RunContext) -> Any:
        await ctx.handoff("billing", reason)
        yield "never"

    async with talk({"support": giving, "billing": billing}) as t:
        assert (await ended(t))["code"] == code
        assert "agent.chosen" not in await t.kinds()
        async with connect(t.gateway, f"/ws/chat?session={t.session}") as late:
            await late.until("MESSAGES_SNAPSHOT")


class Safe(str):
    """Like the safe strings of template engines."""


async def test_a_handoff_takes_any_subclass_of_str() -> None:
    async def giving(ctx: RunContext) -> Any:
        await ctx.handoff(Safe("billing"), Safe("It is about money."))
        yield "never"

    async with talk({"support": giving, "billing": billing}) as t:
        await ended(t)
        said = "billing for ('support', 'It is about money.'): where is my invoice?"
        assert await t.texts() == [said]


async def test_messages_carry_the_name_of_their_agent_and_a_run_names_its_first() -> None:
    async with talk({"support": support, "billing": billing}) as t:
        await ended(t)
        starts = [one for one in t.client.events() if one["type"] == "TEXT_MESSAGE_START"]
        assert [one["name"] for one in starts] == ["support", "billing"]
        started = next(one for one in t.client.events() if one["type"] == "RUN_STARTED")
        assert started["metadata"] == {"agentws": {"agent": "support"}}


async def test_where_there_is_one_agent_nothing_names_it() -> None:
    async def alone(ctx: RunContext) -> Any:
        yield "hello"

    async with talk({"support": alone}) as t:
        await ended(t)
        starts = ("RUN_STARTED", "TEXT_MESSAGE_START")
        named = [one for one in t.client.events() if one["type"] in starts]
        assert not any("name" in one or "metadata" in one for one in named)


async def test_later_messages_go_to_the_other_agent_and_lists_show_it() -> None:
    async with talk({"support": support, "billing": billing}) as t:
        await ended(t)
        await ended(t, "thanks", "m2")
        assert (await t.texts())[-1] == "billing for None: thanks"
        await t.client.settle()
        assert (await t.store.info(t.session)).agent == "billing"


async def test_every_form_of_text_is_named() -> None:
    async def agent(ctx: RunContext) -> Any:
        yield e.TextMessageChunk("a", delta="chunk")
        yield e.TextMessageStart("b")
        yield e.TextMessageContent(message_id="b", delta="event")
        yield e.TextMessageEnd("b")
        yield e.TextMessageStart("c", name="own")
        yield e.TextMessageEnd("c")
        yield e.TextMessageStart("d", role="user")
        yield e.TextMessageEnd("d")
        yield "text"

    async with talk({"one": agent, "two": agent}) as t:
        await ended(t)
        starts = [one for one in t.client.events() if one["type"] == "TEXT_MESSAGE_START"]
        assert [one.get("name") for one in starts] == ["one", "one", "own", None, "one"]


async def test_what_an_agent_says_after_its_handoff_is_dropped_and_it_is_closed() -> None:
    steps: list[str] = []

    async def support(ctx: RunContext) -> Any:
        try:
            await ctx.handoff("billing")
            ctx.output.write("written too late")
            steps.append("before")
            yield "said too late"
            steps.append("never")
        finally:
            await asyncio.sleep(0)
            steps.append("closed")

    async with talk({"support": support, "billing": billing}) as t:
        await ended(t)
        assert steps == ["before", "closed"]
        assert await t.texts() == ["billing for ('support', None): where is my invoice?"]


async def test_a_context_that_was_handed_over_writes_nothing_more() -> None:
    kept: list[RunContext] = []

    async def support(ctx: RunContext) -> Any:
        kept.append(ctx)
        await ctx.handoff("billing")
        return
        yield

    async def billing(ctx: RunContext) -> Any:
        with pytest.raises(RuntimeError):
            kept[0].output.write("too late")
        ctx.output.write("mine")
        yield ""

    async with talk({"support": support, "billing": billing}) as t:
        await ended(t)
        assert await t.texts() == ["mine"]


async def test_everything_that_the_first_agent_left_open_is_closed_before() -> None:
    async def support(ctx: RunContext) -> Any:
        yield e.StepStarted("thinking")
        yield e.ToolCallStart("call", "look")
        await ctx.handoff("billing")

    async with talk({"support": support, "billing": billing}) as t:
        await ended(t)
        kinds = await t.kinds()
        at = kinds.index("agent.chosen")
        assert kinds[at - 2 : at] == ["TOOL_CALL_END", "STEP_FINISHED"]


async def test_agents_that_hand_over_to_each_other_end_with_a_clear_error() -> None:
    async def pingpong(ctx: RunContext) -> Any:
        yield "you! "
        await ctx.handoff("pong" if ctx.agent == "ping" else "ping")

    async with talk({"ping": pingpong, "pong": pingpong}, max_handoffs=3) as t:
        terminal = await ended(t)
        assert terminal["code"] == "too_many_agents"
        assert "keep handing" in terminal["message"]
        assert (await t.kinds()).count("agent.chosen") == 3


@pytest.mark.parametrize("name", ["nobody", "support"])
async def test_a_handoff_to_an_unknown_agent_or_to_oneself_is_an_error(name: str) -> None:
    async def support(ctx: RunContext) -> Any:
        await ctx.handoff(name)
        yield ""

    async with talk({"support": support, "billing": billing}) as t:
        terminal = await ended(t)
        assert (terminal["type"], terminal["code"]) == ("RUN_ERROR", "bad_request")
        assert "session.updated" not in await t.kinds()


async def test_an_agent_that_fails_after_its_handoff_does_not_hand_over() -> None:
    async def support(ctx: RunContext) -> Any:
        await ctx.handoff("billing")
        raise RuntimeError("after all")
        yield

    async with talk({"support": support, "billing": billing}) as t:
        assert (await ended(t))["code"] == "agent_error"
        assert "agent.chosen" not in await t.kinds()


async def test_a_stop_reaches_the_agent_that_goes_on() -> None:
    gate = Gate()

    async def slow(ctx: RunContext) -> Any:
        yield "working"
        await gate.wait()

    async with talk({"support": support, "billing": slow}) as t:
        await t.client.say("go", "m1")
        await gate.reached()
        await t.client.send({"type": "cancel", "id": "c1"})
        assert (await t.terminal())["event"]["outcome"]["type"] == "cancelled"
        await t.check()
        assert (await t.texts())[-1] == "working"


async def test_a_stop_between_the_two_agents_begins_no_second_one() -> None:
    gate = Gate()

    async def support(ctx: RunContext) -> Any:
        try:
            await ctx.handoff("billing")
            yield ""
        finally:
            await gate.wait()

    async with talk({"support": support, "billing": billing}) as t:
        await t.client.say("go", "m1")
        await gate.reached()
        await t.client.send({"type": "cancel", "id": "c1"})
        assert (await t.terminal())["event"]["outcome"]["type"] == "cancelled"
        await t.check()
        assert "agent.chosen" not in await t.kinds()


async def test_a_queued_message_goes_to_the_agent_that_has_the_conversation_then() -> None:
    gate = Gate()

    async def support(ctx: RunContext) -> Any:
        await gate.wait()
        await ctx.handoff("billing")
        yield ""

    async with talk({"support": support, "billing": billing}) as t:
        await t.client.say("one", "m1")
        await gate.reached()
        await t.client.say("two", "m2")
        gate.open()
        await t.ended(2)
        assert (await t.texts())[-1] == "billing for None: two"


async def test_usage_of_all_agents_is_summed_in_one_run() -> None:
    async def support(ctx: RunContext) -> Any:
        ctx.report_usage(m.TokenUsage(provider="p", model="a", output_tokens=1))
        await ctx.handoff("billing")
        yield ""

    async def billing(ctx: RunContext) -> Any:
        ctx.report_usage(m.TokenUsage(provider="p", model="b", output_tokens=2))
        yield "fine"

    async with talk({"support": support, "billing": billing}) as t:
        terminal = await ended(t)
        assert [one["model"] for one in terminal["usage"]] == ["a", "b"]


async def test_an_answer_goes_to_the_agent_that_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever agent the session has by then, and also when it asked for one message only."""
    monkeypatch.setattr(engine, "LINGER", 0.1)
    answers: list[tuple[str, Any]] = []

    async def asking(ctx: RunContext) -> Any:
        if ctx.answers:
            answers.append((ctx.agent, ctx.answers[0].payload))
            yield "thanks"
        else:
            asked = m.Interrupt("i1", "approval", message="May I?")
            yield e.RunFinished("", "", outcome=m.InterruptOutcome([asked]))

    agents = {"support": billing, "asking": asking}
    async with talk(agents, session_idle=0.1) as t:
        await ended(t, "@asking hello")
        await ended(t, "something else", "m2")
        # Also from the checkpoint of a cold start.
        await t.client.aclose()
        for _ in range(100):
            if len(t.gateway.sessions):
                await asyncio.sleep(0.05)
        assert not len(t.gateway.sessions)
        async with connect(t.client.app, f"/ws/chat?session={t.session}") as later:
            await later.send({"type": "answer", "id": "a1", "interrupt": "i1", "payload": True})
            assert await later.answer() == "thanks"
        assert answers == [("asking", True)]


async def test_a_node_that_dies_after_a_handoff_leaves_the_conversation_with_the_other_agent() -> (
    None
):
    gate = Gate()

    async def slow(ctx: RunContext) -> Any:
        if ctx.text == "go":
            await gate.wait()
        yield f"{ctx.agent}: {ctx.text}"

    async with nodes({"support": support, "billing": slow}, lease_ttl=0.5) as (one, two):
        async with connect(one.app) as first:
            await first.until("welcome")
            await first.say("go", "m1")
            await first.until("session.updated")
            session = first.session
            one.freeze()
        async with connect(two.app, f"/ws/chat?session={session}") as second:
            await second.until(lambda frame: kind(frame) == "RUN_ERROR")
            await second.say("and now?", "m2")
            assert await second.answer() == "billing: and now?"


async def test_handoffs_by_many_agents_in_any_order_are_legal_runs() -> None:
    """Whatever was open: text, steps, calls, activities."""
    opened: list[Any] = [
        "text",
        e.StepStarted("s"),
        e.TextMessageStart("m"),
        e.ReasoningStart("r"),
        e.ToolCallStart("t", "tool"),
    ]
    for left, then in itertools.permutations(opened, 2):

        def handing(left: Any = left) -> Any:
            async def hand(ctx: RunContext) -> None:
                await ctx.handoff("two")

            return Script(left, Call(hand))()

        async with talk({"one": handing, "two": Script(then, "done")}) as t:
            await ended(t)

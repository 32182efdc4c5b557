"""A history of several agents is readable for the model of each of them."""

from __future__ import annotations

from typing import Any

import pytest

from agentws import ChatAgent, RunContext
from agentws.agents.handover import Handover
from agentws.agents.speakers import as_read_by
from agentws.protocol.messages import AssistantMessage, Message, TextPart, ToolMessage, UserMessage
from agentws.testing.fakellm import ScriptedLLM, Turn
from tests.contexts import run_context
from tests.runs.harness import talk


def test_answers_of_other_agents_carry_their_name_and_ones_own_do_not() -> None:
    messages: list[Message] = [
        UserMessage("u1", "hello"),
        AssistantMessage("a1", "from billing", name="billing"),
        AssistantMessage("a2", "from me", name="agent"),
        AssistantMessage("a3", "from before there were several"),
    ]
    ctx = run_context("x")
    ctx.agent = "agent"
    read = as_read_by(ctx, messages)
    assert [one.content for one in read] == [
        "hello",
        "[The agent billing said:]\nfrom billing",
        "from me",
        "from before there were several",
    ]
    assert messages[1].content == "from billing"


def test_what_delegates_wrote_is_left_out() -> None:
    messages: list[Message] = [
        UserMessage("u1", "hello"),
        AssistantMessage("a1", "inner", subagent_run_id="sub_1"),
        ToolMessage("t1", "inner", "c1", subagent_run_id="sub_1"),
        AssistantMessage("a2", "outer"),
    ]
    assert [one.id for one in as_read_by(run_context("x"), messages)] == ["u1", "a2"]


@pytest.mark.parametrize(
    ("reason", "note"),
    [
        (None, "[The agent support has handed the conversation over to you.]"),
        (
            "Money.",
            "[The agent support has handed the conversation over to you. The reason: Money.]",
        ),
    ],
)
def test_what_was_handed_over_ends_with_the_reason(reason: str | None, note: str) -> None:
    ctx = run_context("x")
    ctx.handed_over = Handover("support", "agent", reason, True)
    assert as_read_by(ctx, [UserMessage("u", "hi")])[-1].content == f"hi\n\n{note}"
    parts: list[Any] = [TextPart(text="hi")]
    assert as_read_by(ctx, [UserMessage("u", parts)])[-1].content == [*parts, TextPart(text=note)]
    assert as_read_by(ctx, []) == []


async def test_a_model_a_function_and_a_delegate_share_a_session() -> None:
    llm = ScriptedLLM()

    async def desk(ctx: RunContext) -> Any:
        if "help" in ctx.text:
            yield "I have asked. "
            await ctx.delegate("helper", "look it up")
        await ctx.handoff("model", "It needs a model.")

    async def helper(ctx: RunContext) -> Any:
        yield "a long report"

    agents = {"desk": desk, "helper": helper, "model": lambda: ChatAgent(llm)}
    async with talk(agents) as t:
        await t.client.say("help me", "m1")
        await t.terminal()
        await t.client.say("@desk thanks", "m2")
        await t.terminal()
        fold = await t.check()
    names = [one.name for one in fold.messages if isinstance(one, AssistantMessage)]
    assert names == ["desk", "helper", "model", "model"]
    note = "[The agent desk has handed the conversation over to you. The reason: It needs a model.]"
    first, second = llm.requests
    assert first == [Turn("user", f"help me\n\n{note}")]
    assert [turn.text for turn in second] == [
        "help me",
        "[The agent desk said:]\nI have asked. ",
        f"You said: {first[0].text}",
        f"@desk thanks\n\n{note}",
    ]

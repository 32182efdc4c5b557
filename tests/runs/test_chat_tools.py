"""A chat agent with tools: its rounds, its calls, and how a run of it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import pytest

from agentws import ChatAgent, RunContext, tool
from agentws.agents.toolbox import TOO_MANY
from agentws.llm import LLM
from agentws.protocol import messages as m
from agentws.testing.fakellm import Reply, ScriptedLLM, ToolUse, Turn

from .asking import events_of
from .chatting import ADD, add, chat, results
from .harness import Talk, talk


async def ended(one: Talk, text: str = "go") -> dict[str, Any]:
    await one.client.say(text, f"m-{text}")
    event: dict[str, Any] = (await one.terminal())["event"]
    return event


# Rounds


async def test_the_model_gets_the_result_of_its_call_and_answers() -> None:
    llm = ScriptedLLM([Reply("Let me see. ", calls=[ADD]), Reply("It is 3.")])
    async with talk(chat(llm)) as one:
        assert (await ended(one))["outcome"] == {"type": "success"}
        fold = await one.check()
    user, asked, result, said = fold.messages
    assert isinstance(asked, m.AssistantMessage) and isinstance(result, m.ToolMessage)
    assert (asked.content, said.content) == ("Let me see. ", "It is 3.")
    assert [call.function for call in asked.tool_calls or ()] == [
        m.FunctionCall("add", '{"a": 1, "b": 2}')
    ]
    assert (result.content, result.metadata and result.metadata["agentws"]["status"]) == (
        "3",
        "done",
    )
    assert list(llm.requests[1]) == [
        Turn("user", "go"),
        Turn("assistant", "Let me see. "),
        Turn("tool", "3"),
    ]


async def test_the_arguments_are_shown_as_they_are_streamed() -> None:
    llm = ScriptedLLM([Reply(calls=[ToolUse("add", ['{"a":', '1,"b":', "2}"])], delay=1), "3"])
    async with talk(chat(llm)) as one:
        await ended(one)
        deltas = [event["delta"] for event in events_of(one.client, "TOOL_CALL_ARGS")]
        assert deltas == ['{"a":', '1,"b":', "2}"]


async def test_a_call_without_arguments_has_an_empty_object() -> None:
    @tool
    async def now() -> str:
        """Tells the time."""
        return "12:30"

    llm = ScriptedLLM([Reply(calls=[ToolUse("now", [])]), "Half past twelve."])
    async with talk(chat(llm, tools=[now])) as one:
        await ended(one)
        assert [event["delta"] for event in events_of(one.client, "TOOL_CALL_ARGS")] == ["{}"]
    assert results(llm) == ["12:30"]


async def test_the_calls_of_one_round_run_in_parallel_and_results_keep_their_order() -> None:
    order: list[str] = []
    met = asyncio.Barrier(2)

    @tool
    async def wait(name: str, seconds: float) -> str:
        """Waits."""
        await met.wait()
        await asyncio.sleep(seconds)
        order.append(name)
        return name

    slow = ToolUse("wait", {"name": "slow", "seconds": 2})
    fast = ToolUse("wait", {"name": "fast", "seconds": 1})
    llm = ScriptedLLM([Reply(calls=[slow, fast]), "Done."])
    async with talk(chat(llm, tools=[wait])) as one:
        await ended(one)
        fold = await one.check()
    assert order == ["fast", "slow"]
    assert results(llm) == ["slow", "fast"]
    assert sum(isinstance(one, m.AssistantMessage) for one in fold.messages) == 2


async def test_calls_with_the_same_id_in_different_rounds_are_different_calls() -> None:
    call = ToolUse("add", {"a": 1, "b": 2}, id="call_0")
    other = ToolUse("add", {"a": 3, "b": 4}, id="call_0")
    llm = ScriptedLLM([Reply(calls=[call]), Reply(calls=[other]), "Done."])
    async with talk(chat(llm)) as one:
        await ended(one)
        ids = {event["toolCallId"] for event in events_of(one.client, "TOOL_CALL_START")}
        await one.check()
    assert len(ids) == 2
    assert results(llm) == ["3", "7"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (ToolUse("subtract"), "There is no tool subtract. Use add, fail, crash, refund."),
        (ToolUse("add", {"a": 1}), "The arguments of add are not valid"),
        (ToolUse("add", {"a": 1, "b": "two"}), "The arguments of add are not valid"),
        (ToolUse("add", ['{"a":']), "The arguments of add are not valid"),
        (ToolUse("add", ["[1, 2]"]), "The arguments of add are not valid"),
        (ToolUse("fail", {"why": "Monday"}), "It failed: Monday."),
        (ToolUse("crash"), "The tool failed."),
    ],
    ids=["unknown", "missing", "wrong", "broken", "no object", "tool error", "other error"],
)
async def test_the_model_reads_why_a_call_failed(call: ToolUse, said: str) -> None:
    llm = ScriptedLLM([Reply(calls=[call, ADD]), "Sorry."])
    async with talk(chat(llm)) as one:
        assert (await ended(one))["outcome"] == {"type": "success"}
        written = [event["content"] for event in events_of(one.client, "TOOL_CALL_RESULT")]
        await one.check()
    first, second = results(llm)
    assert first.startswith(said) and second == "3"
    assert sorted(written) == sorted([first, second])
    assert "password" not in str(one.client.frames)


async def test_a_failed_call_is_still_failed_in_the_next_run() -> None:
    given: list[Sequence[m.Message]] = []

    class Recording(ScriptedLLM):
        def stream(self, messages: Sequence[m.Message], **options: Any) -> Any:
            given.append(messages)
            return super().stream(messages, **options)

    llm = Recording([Reply(calls=[ToolUse("fail")]), "Sorry.", "Again."])
    async with talk(chat(llm)) as one:
        await ended(one)
        await one.client.say("again", "m-2")
        await one.ended(2)
    for messages in given[1:]:
        (result,) = [one for one in messages if isinstance(one, m.ToolMessage)]
        assert result.error == "It failed: no reason."


async def test_the_rounds_of_one_run_are_limited() -> None:
    calls: list[int] = []

    @tool
    async def count() -> str:
        """Counts."""
        calls.append(1)
        return "more"

    llm = ScriptedLLM([Reply("Once more. ", calls=[ToolUse("count")])])
    async with talk(chat(llm, tools=[count], max_rounds=3)) as one:
        event = await ended(one)
        contents = [event["content"] for event in events_of(one.client, "TOOL_CALL_RESULT")]
        await one.check()
    assert (event["type"], event["code"]) == ("RUN_ERROR", "llm_rounds")
    assert (len(calls), len(llm.requests), contents) == (2, 3, ["more", "more", TOO_MANY])


async def test_usage_is_summed_over_the_rounds() -> None:
    llm = ScriptedLLM([Reply(calls=[ADD]), "It is 3."])
    async with talk(chat(llm)) as one:
        (usage,) = (await ended(one))["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]
    assert usage["inputTokens"] == 1 + 2


async def test_a_large_result_is_an_error_that_the_model_reads() -> None:
    @tool
    async def big() -> str:
        """Returns much."""
        return "x" * 10_000_000

    llm = ScriptedLLM([Reply(calls=[ToolUse("big")]), "Too much."])
    async with talk(chat(llm, tools=[big])) as one:
        assert (await ended(one))["outcome"] == {"type": "success"}
    assert "too large" in results(llm)[0]


# Reasoning


async def test_reasoning_is_shown_and_kept() -> None:
    thoughtful = Reply("Adding. ", reasoning="Hm, well.", signature="s1", calls=[ADD])
    llm = ScriptedLLM([thoughtful, Reply("It is 3.", reasoning="So.")])
    async with talk(chat(llm)) as one:
        await ended(one)
        kinds = [event["type"] for event in one.client.events()]
        fold = await one.check()
    begin = ["REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT"]
    end = ["REASONING_ENCRYPTED_VALUE", "REASONING_MESSAGE_END", "REASONING_END"]
    at = kinds.index("REASONING_START")
    found = [kind for kind in kinds[at:] if kind.startswith("REASONING")]
    assert found[: len(begin)] == begin
    assert [kind for kind in found if kind != "REASONING_MESSAGE_CONTENT"][2:5] == end
    thoughts = [one for one in fold.messages if isinstance(one, m.ReasoningMessage)]
    assert [(one.content, one.encrypted_value) for one in thoughts] == [
        ("Hm, well.", "s1"),
        ("So.", None),
    ]


async def test_reasoning_is_shown_by_an_agent_without_tools() -> None:
    llm = ScriptedLLM([Reply("Yes.", reasoning="Hm.")])
    async with talk(chat(llm, tools=[])) as one:
        await ended(one)
        fold = await one.check()
    assert [one.content for one in fold.messages] == ["go", "Hm.", "Yes."]


# Runs that end early


async def test_a_stop_in_the_middle_of_the_arguments_closes_the_call() -> None:
    stalled = Reply("Let me see. ", calls=[ADD], fault="stall", after=5)
    llm = ScriptedLLM([stalled, "Never mind."])
    async with talk(chat(llm)) as one:
        await one.client.say("go", "m1")
        await one.client.until("TOOL_CALL_ARGS")
        await one.client.ask({"type": "cancel", "id": "c1"})
        assert (await one.terminal())["event"]["outcome"] == {"type": "cancelled"}
        assert llm.disconnects == 1
        assert events_of(one.client, "TOOL_CALL_END")
        await one.client.say("and now?", "m2")
        await one.ended(2)
        await one.check()
    assert [turn.role for turn in llm.requests[1]] == ["user", "assistant", "tool", "user"]


async def test_a_stop_stops_the_tools() -> None:
    stopped: list[str] = []

    @tool
    async def wait(name: str) -> str:
        """Waits."""
        try:
            await asyncio.sleep(1000)
        finally:
            stopped.append(name)
        return name

    llm = ScriptedLLM(
        [Reply(calls=[ToolUse("wait", {"name": "a"}), ToolUse("wait", {"name": "b"})])]
    )
    async with talk(chat(llm, tools=[wait])) as one:
        await one.client.say("go", "m1")
        await one.client.until("TOOL_CALL_END")
        await asyncio.sleep(1)
        await one.client.ask({"type": "cancel", "id": "c1"})
        assert (await one.terminal())["event"]["outcome"] == {"type": "cancelled"}
        contents = [event["content"] for event in events_of(one.client, "TOOL_CALL_RESULT")]
        await one.check()
    assert sorted(stopped) == ["a", "b"]
    assert contents == ["The call was stopped."] * 2


async def test_a_model_that_fails_in_a_later_round_ends_the_run_with_its_error() -> None:
    llm = ScriptedLLM([Reply("One. ", calls=[ADD]), Reply("Two. ", calls=[ADD], fault="drop")])
    async with talk(chat(llm)) as one:
        assert (await ended(one))["code"] == "llm_unavailable"
        assert await one.texts() == ["One. ", "Two. "]
        await one.check()


# What can't be an agent


class Plain(LLM):
    """A model without tools, whose method does not take any."""

    async def stream(  # type: ignore[override]
        self, messages: Sequence[m.Message], *, instructions: str | None = None
    ) -> AsyncGenerator[str | m.TokenUsage, None]:
        yield "Hello."


async def test_a_model_that_takes_no_tools_works_without_them() -> None:
    async with talk(lambda: ChatAgent(Plain())) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "Hello."


async def test_a_model_whose_tool_has_handed_over_is_not_asked_again() -> None:
    @tool
    async def transfer(ctx: RunContext) -> str:
        """Transfers the user."""
        await ctx.handoff("clerk")
        return "transferred"

    async def clerk(ctx: RunContext) -> AsyncIterator[str]:
        yield "Here."

    llm = ScriptedLLM([Reply("One moment. ", calls=[ToolUse("transfer", {})]), "never"])
    async with talk({"chat": chat(llm, tools=[transfer]), "clerk": clerk}) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "One moment. Here."
    assert len(llm.requests) == 1


@pytest.mark.parametrize(
    ("llm", "options", "error"),
    [
        (Plain(), {"tools": [add]}, "Plain takes no tools"),
        (ScriptedLLM(), {"tools": [add.function]}, "tools holds a function; expected tools"),
        (ScriptedLLM(), {"tools": [add, add]}, "the same name"),
        (ScriptedLLM(), {"max_rounds": 0}, "max_rounds is 0"),
    ],
)
def test_what_can_not_be_an_agent_is_refused(llm: LLM, options: dict[str, Any], error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        ChatAgent(llm, **options)


@pytest.mark.parametrize("item", [5, None, m.ToolCall("c", m.FunctionCall("f", ""))], ids=str)
async def test_a_model_that_yields_something_else_fails(item: Any) -> None:
    class Odd(ScriptedLLM):
        def stream(self, messages: Sequence[m.Message], **options: Any) -> Any:
            return yielded([item])

    async with talk(chat(Odd())) as one:
        assert (await ended(one))["code"] == "invalid_event"


async def yielded(items: Sequence[Any]) -> AsyncGenerator[Any, None]:
    for item in items:
        yield item

"""A chat agent with tools over the real SDKs: whole runs, and runs that break off anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from agentws import ChatAgent, tool
from agentws.integrations import reading
from agentws.protocol import messages as m
from agentws.testing.fakellm import FakeLLM, Fault, Reply, ToolUse
from tests.runs.harness import Talk, talk

from .wires import Connect, anthropic_messages, openai_chat, openai_delta


@tool
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


CALLS = [ToolUse("add", {"a": 1, "b": 2}, id="x"), ToolUse("add", {"a": "?"}, id="y")]
ADDING = Reply("Let me see.", reasoning="Hm, well.", signature="s1g", calls=CALLS)


async def said(one: Talk, text: str, runs: int) -> dict[str, Any]:
    await one.client.say(text, f"m{runs}")
    return (await one.ended(runs))[-1]


async def test_a_run_of_two_rounds(connect: Connect) -> None:
    async with FakeLLM([ADDING, "It is 3."]) as fake, connect(fake) as llm:
        async with talk(lambda: ChatAgent(llm, tools=[add])) as one:
            event = await said(one, "go", 1)
            fold = await one.check()
    user, thought, asked, first, second, answer = fold.messages
    assert isinstance(thought, m.ReasoningMessage) and isinstance(asked, m.AssistantMessage)
    assert (thought.content, asked.content) == ("Hm, well.", "Let me see.")
    assert [call.function.arguments for call in asked.tool_calls or ()] == [
        '{"a": 1, "b": 2}',
        '{"a": "?"}',
    ]
    assert (first.content, answer.content) == ("3", "It is 3.")
    assert "not valid" in str(second.content)
    (usage,) = event["usage"]
    assert usage["outputTokens"] == len(ADDING.pieces) + 3
    assert [one["tools"] for one in fake.requests] == [fake.requests[0]["tools"]] * 2


async def test_a_signature_that_no_event_can_hold_does_not_fail_the_run() -> None:
    """The next round gets it back, from memory."""
    signature = "s" * 300_000
    signed = Reply(reasoning="Hm.", signature=signature, calls=CALLS[:1])
    async with FakeLLM([signed, Reply("It is 3.")]) as fake, anthropic_messages(fake) as llm:
        async with talk(lambda: ChatAgent(llm, tools=[add])) as one:
            event = await said(one, "go", 1)
            fold = await one.check()
            await said(one, "thanks", 2)
    assert event["type"] == "RUN_FINISHED"
    assert [one.content for one in fold.messages if isinstance(one, m.ReasoningMessage)] == ["Hm."]
    blocks = [body["messages"][1]["content"] for body in fake.requests[1:]]
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": signature}
    assert [thinking in one for one in blocks] == [True, False]


async def test_what_anthropic_signed_is_sent_back_in_the_next_rounds_and_runs() -> None:
    script = [ADDING, Reply("It is 3."), Reply("Bye.")]
    async with FakeLLM(script) as fake, anthropic_messages(fake) as llm:
        async with talk(lambda: ChatAgent(llm, tools=[add])) as one:
            await said(one, "go", 1)
            await said(one, "thanks", 2)
    thinking = {"type": "thinking", "thinking": "Hm, well.", "signature": "s1g"}
    for body in fake.requests[1:]:
        kinds = [block["type"] for block in body["messages"][1]["content"]]
        assert body["messages"][1]["content"][0] == thinking
        assert kinds == ["thinking", "text", "tool_use", "tool_use"]
        results = [block.get("is_error") for block in body["messages"][2]["content"]]
        assert results == [False, True]


FAULTS: list[Fault] = ["drop", "truncate", "malformed", "error", "rate_limit"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_answer_may_break_off_after_any_piece(connect: Connect, fault: Fault) -> None:
    broken = [
        Reply("Yes.", reasoning="Hm.", signature="s", calls=CALLS[:1], fault=fault, after=after)
        for after in range(len(ADDING.pieces))
    ]
    broken = broken[: len(broken[0].pieces) + 1]
    script = [reply for one in broken for reply in (one, Reply("Fine."))]
    async with FakeLLM(script) as fake, connect(fake) as llm:
        async with talk(lambda: ChatAgent(llm, tools=[add])) as one:
            for number in range(len(broken)):
                event = await said(one, "go", 2 * number + 1)
                assert event["type"] == "RUN_ERROR", event
                assert event["metadata"] == {"agentws": {"retryable": True}}
                event = await said(one, "again", 2 * number + 2)
                assert event.get("outcome") == {"type": "success"}, event
            await one.check()
    assert len(fake.requests) == len(script)


async def test_a_round_that_is_asked_for_again_is_shown_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import anthropic

    from agentws.integrations.anthropic import AnthropicMessages

    monkeypatch.setattr(reading, "FIRST_PAUSE", 0.0)
    failed = Reply("never seen", fault="error", after=0)
    script = [failed, ADDING, failed, failed, Reply("It is 3.")]
    async with FakeLLM(script) as fake:
        options: Any = {"base_url": fake.anthropic_url, "api_key": "key", "max_retries": 0}
        async with anthropic.AsyncAnthropic(**options) as client:
            llm = AnthropicMessages("fake", client=client)
            async with talk(lambda: ChatAgent(llm, tools=[add])) as one:
                await said(one, "go", 1)
                assert await one.texts() == ["Let me see.", "It is 3."]
                await one.check()
    assert len(fake.requests) == len(script)


async def test_a_model_that_says_something_after_a_call_is_given_the_result_last() -> None:
    call = {"index": 0, "id": "x", "function": {"name": "add", "arguments": '{"a":1,"b":2}'}}
    events = [openai_delta({"tool_calls": [call]}), openai_delta({"content": "I add them."})]
    adding = Reply(events=events, finish="tool_calls")
    async with FakeLLM([adding, "It is 3."]) as fake, openai_chat(fake) as llm:
        async with talk(lambda: ChatAgent(llm, tools=[add])) as one:
            await said(one, "go", 1)
    asked = fake.requests[1]["messages"]
    assert [one["role"] for one in asked] == ["user", "assistant", "tool"]
    assert asked[1]["content"] == "I add them."


async def test_line_breaks_around_calls_are_no_messages() -> None:
    call = {"function": {"name": "add", "arguments": '{"a":1,"b":2}'}}
    events: list[Any] = []
    for at in range(2):
        events += [openai_delta({"tool_calls": [call | {"index": at, "id": str(at)}]})]
        events += [openai_delta({"content": "\n"}), openai_delta({"content": "\n"})]
    adding = Reply(events=events, finish="tool_calls")
    async with FakeLLM([adding, "It is 3."]) as fake, openai_chat(fake) as llm:
        async with talk(lambda: ChatAgent(llm, tools=[add])) as one:
            await said(one, "go", 1)
            fold = await one.check()
    texts = [one.content for one in fold.messages if isinstance(one, m.AssistantMessage)]
    assert texts == [None, "It is 3."]
    assert [len(one.get("tool_calls", [])) for one in fake.requests[1]["messages"]] == [0, 2, 0, 0]

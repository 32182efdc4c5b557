"""Calls of tools and reasoning, in the form of each provider and of servers like it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from agentws.agents.llm import LLM, LLMCutOff, LLMEmpty, LLMPiece, LLMUnavailable
from agentws.integrations import anthropic_prompt, openai_prompt, reading
from agentws.integrations.anthropic import AnthropicMessages
from agentws.integrations.openai import OpenAIChat
from agentws.protocol import messages as m
from agentws.testing.fakellm import FakeLLM, Fault, Reply, ToolUse

from .wires import (
    HELLO,
    Connect,
    Outcome,
    anthropic_messages,
    openai_chat,
    openai_delta,
    refused,
    whole,
)

ADD = m.Tool("add", "Adds numbers.", {"type": "object", "properties": {"a": {"type": "integer"}}})
CLOCK = m.Tool("clock", "Tells the time.")
TOOLS = [ADD, CLOCK]


async def test_calls_are_streamed_beside_text(connect: Connect) -> None:
    reply = Reply("Let me see.", calls=[ToolUse("add", {"a": 1234567890}), ToolUse("clock")])
    outcome = await whole(connect, reply, TOOLS)
    assert outcome.text == "Let me see."
    assert list(outcome.calls.values()) == [("add", '{"a": 1234567890}'), ("clock", "{}")]


async def test_arguments_are_yielded_as_they_come(connect: Connect) -> None:
    stalled = Reply(calls=[ToolUse("add", ['{"a"', ":1}"])], fault="stall", after=2)
    async with FakeLLM([stalled]) as fake, connect(fake) as llm:
        async with aclosing(llm.stream(HELLO, tools=TOOLS)) as pieces:
            begun, arguments = await anext(pieces), await anext(pieces)
    assert (tool_name(begun), getattr(arguments, "delta", None)) == ("add", '{"a"')


def tool_name(piece: LLMPiece) -> str | None:
    return getattr(piece, "tool_call_name", None)


async def test_an_answer_of_calls_alone_is_complete(connect: Connect) -> None:
    assert (await whole(connect, Reply(calls=[ToolUse("clock")]), TOOLS)).text == ""


async def test_a_call_that_is_cut_off_is_an_error(connect: Connect) -> None:
    _, error = await refused(connect, Reply(calls=[ToolUse("clock")], finish="length"), TOOLS)
    assert isinstance(error, LLMCutOff)


async def request(connect: Connect, messages: Sequence[m.Message]) -> dict[str, Any]:
    async with FakeLLM(["Hi"]) as fake, connect(fake) as llm:
        async with aclosing(llm.stream(messages, tools=TOOLS)) as pieces:
            async for _ in pieces:
                pass
    return fake.requests[0]


async def test_openai_is_given_the_tools() -> None:
    add = {"name": "add", "description": "Adds numbers.", "parameters": ADD.parameters}
    empty = {"type": "object", "properties": {}}
    clock = {"name": "clock", "description": "Tells the time.", "parameters": empty}
    assert (await request(openai_chat, HELLO))["tools"] == [
        {"type": "function", "function": add},
        {"type": "function", "function": clock},
    ]


async def test_anthropic_is_given_the_tools() -> None:
    empty = {"type": "object", "properties": {}}
    assert (await request(anthropic_messages, HELLO))["tools"] == [
        {"name": "add", "description": "Adds numbers.", "input_schema": ADD.parameters},
        {"name": "clock", "description": "Tells the time.", "input_schema": empty},
    ]


async def test_a_name_that_a_provider_refuses_is_mapped_there_and_back(connect: Connect) -> None:
    odd = m.Tool("time.now", "Tells the time.")
    outcome = await whole(connect, Reply(calls=[ToolUse("time_now")]), [odd])
    assert list(outcome.calls.values()) == [("time.now", "{}")]


def piece(name: Any = None, arguments: Any = None, **members: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}} | members


ODD_CALLS: dict[str, list[list[dict[str, Any]]]] = {
    "the index 0 for every call": [
        [piece("add", '{"a":1}', index=0, id="x")],
        [piece("clock", "{}", index=0, id="y")],
    ],
    "ids without indexes": [
        [piece("add", '{"a"', id="x")],
        [piece(None, ":1}", id="x"), piece("clock", "{}", id="y")],
    ],
    "indexes without ids": [
        [piece("add", '{"a"', index=0), piece("clock", "", index=1)],
        [piece(None, "{}", index=1), piece(None, ":1}", index=0)],
    ],
    "the same id for every call": [
        [piece("add", '{"a"', index=0, id="x"), piece(None, ":1}", index=0, id="x")],
        [piece("clock", "{}", index=1, id="x")],
    ],
    "neither": [[piece("add", '{"a"')], [piece(None, ":1}")], [piece("clock", "{}")]],
    "a new id with every piece": [
        [piece("add", '{"a"', index=0, id="x")],
        [piece(None, ":1}", index=0, id="z"), piece("clock", "{}", index=1, id="y")],
    ],
    "the name with every piece": [
        [piece("add", '{"a"', index=0, id="x")],
        [piece("add", ":1}", index=0, id="x"), piece("clock", "{}", index=1, id="y")],
    ],
    "empty names and ids": [
        [piece("add", '{"a"', index=0, id="x"), piece("clock", "{}", index=1, id="")],
        [piece("", ":1}", index=0, id="")],
    ],
    "arguments before the name": [
        [piece(None, '{"a"', index=0, id="x")],
        [piece("add", ":1}", index=0, id="x"), piece("clock", "{}", index=1, id="y")],
    ],
    "arguments as an object": [
        [piece("add", {"a": 1}, index=0, id="x"), piece("clock", {}, index=1, id="y")]
    ],
    "the index 0 and an empty id for every call": [
        [piece("add", '{"a":1}', index=0, id=""), piece("clock", "{}", index=0, id="")],
    ],
    "the index 0 for every call, and no ids": [
        [piece("add", '{"a"', index=0)],
        [piece("add", ":1}", index=0), piece("clock", "{}", index=0)],
    ],
    "numbers as ids": [
        [piece("add", '{"a"', id=0), piece("clock", "{", id=1)],
        [piece(None, ":1}", id=0), piece(None, "}", id=1)],
    ],
    "odd pieces between": [
        [piece("add", '{"a":1}', index=0, id="x"), {}, {"index": 0, "function": None}],
        [piece(5, [], index=0), piece("clock", "{}", index=1, id="y")],
    ],
}


@pytest.mark.parametrize("deltas", ODD_CALLS.values(), ids=ODD_CALLS)
async def test_calls_in_the_forms_of_compatible_servers_are_read(
    deltas: list[list[dict[str, Any]]],
) -> None:
    events = [openai_delta({"tool_calls": calls}) for calls in deltas]
    outcome = await whole(openai_chat, Reply(events=events, finish="tool_calls"), TOOLS)
    assert list(outcome.calls.values()) == [("add", '{"a":1}'), ("clock", "{}")]


async def test_half_characters_of_arguments_are_joined(connect: Connect) -> None:
    call = ToolUse("add", ['{"a":"', "\ud83d", "\ude00", '"}', "\ud83d"])
    outcome = await whole(connect, Reply(calls=[call]), TOOLS)
    assert list(outcome.calls.values()) == [("add", '{"a":"😀"}\ufffd')]


async def test_half_characters_in_arguments_that_are_an_object_do_not_fail_the_answer() -> None:
    call = piece("add", {"a\ud83d": "\ude00 é \ud83d\ude00"}, index=0, id="x")
    call["extra_content"] = {"seal": "\ud83d"}
    events = [openai_delta({"tool_calls": [call]})]
    outcome = await whole(openai_chat, Reply(events=events, finish="tool_calls"), TOOLS)
    assert list(outcome.calls.values()) == [("add", '{"a\ufffd":"\ufffd é 😀"}')]
    assert outcome.sealed[0].encrypted_value == openai_prompt.EXTRA + '{"seal":"\ufffd"}'


async def test_a_name_that_is_far_too_long_is_cut(connect: Connect) -> None:
    outcome = await whole(connect, Reply(calls=[ToolUse("add" * 100_000)]), TOOLS)
    assert list(outcome.calls.values()) == [(("add" * 100)[:128], "{}")]


def nameless(event: dict[str, Any]) -> dict[str, Any]:
    """``event`` without the name of a call."""
    for choice in event.get("choices", ()):
        for call in choice["delta"].get("tool_calls", ()):
            call["function"].pop("name", None)
    event.get("content_block", {}).pop("name", None)
    return event


async def test_text_before_a_call_without_a_name_is_no_complete_answer(connect: Connect) -> None:
    calls = [ToolUse("add", {"a": 1})]
    text, error = await refused(connect, Reply("Let me see.", calls=calls, edit=nameless), TOOLS)
    assert text == "Let me see."
    assert (type(error), error.retryable) == (LLMEmpty, True)
    assert str(error) == "The model called a tool, and gave no answer."


@pytest.mark.parametrize(
    ("connect", "finish"), [(openai_chat, "STOP"), (anthropic_messages, "end_turn")]
)
async def test_a_call_without_a_name_does_not_fail_an_answer_that_is_complete(
    connect: Connect, finish: str
) -> None:
    reply = Reply("Three.", calls=[ToolUse("add", {"a": 1})], edit=nameless, finish=finish)
    assert (await whole(connect, reply, TOOLS)).text == "Three."


async def test_anthropic_may_send_all_arguments_at_once() -> None:
    block = {"type": "tool_use", "id": "x", "name": "add", "input": {"a": 1}}
    start = {"type": "content_block_start", "index": 0, "content_block": block}
    outcome = await whole(anthropic_messages, Reply(events=[start], finish="tool_use"), TOOLS)
    assert list(outcome.calls.values()) == [("add", '{"a":1}')]


async def test_arguments_that_anthropic_sends_at_once_and_in_pieces_count_once() -> None:
    block = {"type": "tool_use", "id": "x", "name": "add", "input": {"a": 1}}
    start = {"type": "content_block_start", "index": 0, "content_block": block}
    pieces = [
        {"type": "content_block_delta", "index": 0, "delta": delta}
        for delta in (
            {"type": "input_json_delta", "partial_json": ""},
            {"type": "input_json_delta", "partial_json": '{"a"'},
            {"type": "input_json_delta", "partial_json": ": 1}"},
        )
    ]
    reply = Reply(events=[start, *pieces], finish="tool_use")
    outcome = await whole(anthropic_messages, reply, TOOLS)
    assert list(outcome.calls.values()) == [("add", '{"a": 1}')]


# Reasoning


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm."},
        {"reasoning_content": "Hm.", "reasoning": "Hm."},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]},
        {"content": [{"type": "thinking", "thinking": "Hm."}]},
    ],
    ids=str,
)
async def test_reasoning_of_compatible_servers_is_read(delta: Any) -> None:
    events = [openai_delta(delta), openai_delta({"content": "Yes."})]
    outcome = await whole(openai_chat, Reply(events=events))
    assert (outcome.reasoning, outcome.text) == ("Hm.", "Yes.")


def round_of(outcome: Outcome, *sealed: str) -> list[m.Message]:
    """The messages that a chat agent keeps of an outcome with one call."""
    ((name, arguments),) = outcome.calls.values()
    call = m.ToolCall("c1", m.FunctionCall(name, arguments))
    thoughts: list[m.Message] = [
        m.ReasoningMessage(f"r{at}", outcome.reasoning, encrypted_value=value)
        for at, value in enumerate(sealed)
    ]
    asked = m.AssistantMessage("a", outcome.text or None, [call])
    return [*HELLO, *thoughts, asked, m.ToolMessage("t", "3", "c1")]


async def test_signed_reasoning_is_sent_back_to_anthropic_unchanged() -> None:
    reply = Reply("Adding.", reasoning="Hm, well.", signature="s1g+/=", calls=[ToolUse("add")])
    outcome = await whole(anthropic_messages, reply, TOOLS)
    (sealed,) = outcome.sealed
    said = round_of(outcome, sealed.encrypted_value)
    assert anthropic_prompt.conversation(said)[1]["content"] == [
        {"type": "thinking", "thinking": "Hm, well.", "signature": "s1g+/="},
        {"type": "text", "text": "Adding."},
        {"type": "tool_use", "id": "c1", "name": "add", "input": {}},
    ]


async def test_redacted_reasoning_is_sent_back_to_anthropic() -> None:
    block = {"type": "redacted_thinking", "data": "x7=="}
    start = {"type": "content_block_start", "index": 9, "content_block": block}
    reply = Reply(calls=[ToolUse("add")], events=[start])
    outcome = await whole(anthropic_messages, reply, TOOLS)
    said = round_of(outcome, outcome.sealed[0].encrypted_value)
    assert anthropic_prompt.conversation(said)[1]["content"][0] == block


async def test_reasoning_of_another_model_or_without_an_answer_is_not_sent_to_anthropic() -> None:
    alone = m.ReasoningMessage("r", "Hm.", encrypted_value=anthropic_prompt.SIGNATURE + "s")
    other = m.ReasoningMessage("r", "Hm.", encrypted_value="sealed by another provider")
    said = [*HELLO, other, alone, m.UserMessage("2", "And?")]
    assert anthropic_prompt.conversation(said) == [
        {"role": "user", "content": [{"type": "text", "text": "Hello there"}]},
        {"role": "user", "content": [{"type": "text", "text": "And?"}]},
    ]


async def test_what_gemini_seals_a_call_with_is_sent_back() -> None:
    extra = {"google": {"thought_signature": "abc="}}
    call = {"index": 0, "id": "x", "function": {"name": "clock", "arguments": "{}"}}
    events = [openai_delta({"tool_calls": [call | {"extra_content": extra}]})]
    outcome = await whole(openai_chat, Reply(events=events, finish="tool_calls"), TOOLS)
    (sealed,) = outcome.sealed
    assert sealed.subtype == "tool-call"
    function = m.FunctionCall("clock", "{}")
    asked = m.AssistantMessage("a", None, [m.ToolCall("c1", function, sealed.encrypted_value)])
    entries = openai_prompt.conversation([*HELLO, asked], None)
    assert entries[1]["tool_calls"][0]["extra_content"] == extra


def test_reasoning_is_sent_back_to_openai_on_request_with_every_message_of_the_model() -> None:
    def round(number: int) -> list[m.Message]:
        call = m.ToolCall(f"c{number}", m.FunctionCall("clock", "{}"))
        return [
            m.ReasoningMessage(f"r{number}", f"Hm {number}."),
            m.AssistantMessage(f"a{number}", None, [call]),
            m.ToolMessage(f"t{number}", "12:30", f"c{number}"),
        ]

    answer, idle = m.AssistantMessage("a", "Half past."), m.ReasoningMessage("r", "Stopped here.")
    later = [m.UserMessage("2", "And?"), *round(2), m.AssistantMessage("b", "I look."), *round(3)]
    said = [*HELLO, *round(1), answer, idle, *later]
    entries = openai_prompt.conversation(said, None, reasoning=True)
    assert [one.get("reasoning_content") for one in entries if one["role"] == "assistant"] == [
        "Hm 1.",
        "",
        "Hm 2.",
        "Hm 3.",
    ]
    assert "reasoning_content" not in str(openai_prompt.conversation(said, None))


# Requests that are repeated

FAULTS: list[Fault] = ["drop", "truncate", "malformed", "error", "rate_limit"]


def adapter(wire: str, fake: FakeLLM, retries: int) -> LLM:
    if wire == "openai":
        url = fake.openai_url
        return OpenAIChat("fake", base_url=url, api_key="x", max_retries=retries)
    url = fake.anthropic_url
    return AnthropicMessages("fake", base_url=url, api_key="x", max_retries=retries)


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_response_that_fails_before_any_output_is_asked_for_again(
    wire: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "FIRST_PAUSE", 0.0)
    script = [Reply("one two", fault=fault, after=0), Reply("Fine.")]
    async with FakeLLM(script) as fake, adapter(wire, fake, 1) as llm:
        async with aclosing(llm.stream(HELLO)) as pieces:
            said = [piece async for piece in pieces]
    assert (said[0], len(said), len(fake.requests)) == ("Fine.", 2, 2)


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_a_refused_request_is_repeated_by_the_sdk_alone(wire: str) -> None:
    busy = Reply(status=503, headers={"retry-after-ms": "1"})
    async with FakeLLM([busy]) as fake, adapter(wire, fake, 1) as llm:
        with pytest.raises(LLMUnavailable):
            await anext(llm.stream(HELLO))
    assert len(fake.requests) == 2


SHOWN = [Reply("one two"), Reply(reasoning="Hm, well."), Reply(calls=[ToolUse("clock")])]


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("shown", SHOWN, ids=["text", "reasoning", "a call"])
async def test_a_response_that_fails_later_is_not_asked_for_again(
    wire: str, shown: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "FIRST_PAUSE", 0.0)
    broken = Reply(shown.text, reasoning=shown.reasoning, calls=shown.calls, fault="error", after=1)
    async with FakeLLM([broken, Reply("Fine.")]) as fake, adapter(wire, fake, 2) as llm:
        said = []
        with pytest.raises(LLMUnavailable):
            async with aclosing(llm.stream(HELLO, tools=TOOLS)) as pieces:
                async for piece in pieces:
                    said.append(piece)
    assert said[0] == shown.pieces[0] or tool_name(said[0]) == "clock"
    assert len(fake.requests) == 1


async def test_a_response_is_asked_for_again_only_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FIRST_PAUSE", 0.0)
    async with FakeLLM([Reply("one", fault="truncate", after=0)]) as fake:
        async with adapter("openai", fake, 2) as llm:
            with pytest.raises(LLMUnavailable):
                await anext(llm.stream(HELLO))
    assert len(fake.requests) == 3

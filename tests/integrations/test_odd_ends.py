"""An incomplete answer always raises an LLMError that says why it is incomplete.

The fake server sends each such stream through the real SDKs.
"""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from agentws.agents.llm import (
    LLMCutOff,
    LLMEmpty,
    LLMError,
    LLMRateLimited,
    LLMRefused,
    LLMUnavailable,
)
from agentws.integrations.anthropic import AnthropicMessages
from agentws.integrations.openai import OpenAIChat
from agentws.testing.fakellm import Reply

from .wires import (
    HELLO,
    Connect,
    Event,
    anthropic_delta,
    anthropic_messages,
    openai_chat,
    openai_delta,
    read_answer,
    refused,
    whole,
)

# Answers without text

NO: list[Event] = [openai_delta({"refusal": "I can't "}), openai_delta({"refusal": "say that."})]


@pytest.mark.parametrize("finish", ["stop", "content_filter"])
async def test_a_refusal_is_yielded_and_raises_llm_refused(finish: str) -> None:
    text, error = await refused(openai_chat, Reply(events=NO, finish=finish))
    assert text == "I can't say that."
    assert isinstance(error, LLMRefused)


async def test_a_content_part_of_type_refusal_is_a_refusal() -> None:
    parts = [{"type": "refusal", "refusal": "I can't."}]
    text, error = await refused(openai_chat, Reply(events=[openai_delta({"content": parts})]))
    assert text == "I can't."
    assert isinstance(error, LLMRefused)


async def test_a_refusal_after_some_text_is_a_refusal() -> None:
    text, error = await refused(openai_chat, Reply("Well, ", events=NO))
    assert text == "Well, I can't say that."
    assert isinstance(error, LLMRefused)


REASONING: Mapping[str, tuple[Connect, Event]] = {
    "reasoning_content": (openai_chat, openai_delta({"reasoning_content": "Hm."})),
    "reasoning": (openai_chat, openai_delta({"reasoning": "Hm.", "content": ""})),
    "details": (openai_chat, openai_delta({"reasoning_details": [{"text": "Hm."}]})),
    "a part": (openai_chat, openai_delta({"content": [{"type": "thinking", "thinking": []}]})),
    "and white space": (openai_chat, openai_delta({"content": "\n\n", "reasoning": "Hm."})),
    "anthropic": (anthropic_messages, anthropic_delta(type="thinking_delta", thinking="Hm.")),
}


@pytest.mark.parametrize(("connect", "event"), REASONING.values(), ids=REASONING)
async def test_the_error_of_reasoning_without_an_answer_says_so(
    connect: Connect, event: Event
) -> None:
    _, error = await refused(connect, Reply(events=[event]))
    assert isinstance(error, LLMEmpty)
    assert (str(error), error.retryable) == ("The model thought, but gave no answer.", True)


async def test_reasoning_is_no_part_of_the_text(connect: Connect) -> None:
    outcome = await whole(connect, Reply("Yes.", reasoning="Hm, well."))
    assert (outcome.text, outcome.reasoning) == ("Yes.", "Hm, well.")


CALLS: Mapping[str, tuple[Connect, Event, str]] = {
    "openai": (
        openai_chat,
        openai_delta({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}),
        "tool_calls",
    ),
    "anthropic": (
        anthropic_messages,
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "c", "name": "f", "input": {}},
        },
        "tool_use",
    ),
}


@pytest.mark.parametrize(("connect", "event", "finish"), CALLS.values(), ids=CALLS)
async def test_the_error_of_a_tool_call_without_an_answer_says_so(
    connect: Connect, event: Event, finish: str
) -> None:
    _, error = await refused(connect, Reply(events=[event], finish=finish))
    assert isinstance(error, LLMEmpty)
    assert str(error) == "The model called a tool, and gave no answer."


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\x00"])
async def test_an_answer_without_text_is_an_error(connect: Connect, text: str) -> None:
    _, error = await refused(connect, Reply([text]))
    assert isinstance(error, LLMEmpty)
    assert str(error) == "The model gave no answer."


# How an answer ends

GOOD = [(openai_chat, one) for one in ("stop", "tool_calls", "tool_use", "STOP", "eos")] + [
    (anthropic_messages, one) for one in ("end_turn", "stop_sequence", "tool_use")
]


@pytest.mark.parametrize(("connect", "finish"), GOOD)
async def test_an_answer_with_a_good_finish_reason_is_complete(
    connect: Connect, finish: str
) -> None:
    assert (await whole(connect, Reply("Hello there", finish=finish))).text == "Hello there"


UNKNOWN = ["insufficient_system_resource", "error", "banana", "pause_turn", "SAFETY", "stopped"]


@pytest.mark.parametrize("finish", UNKNOWN)
async def test_any_other_finish_reason_is_a_cut_off_answer_and_is_in_the_message(
    connect: Connect, finish: str
) -> None:
    outcome = await read_answer(connect, Reply("Hello there", finish=finish))
    assert outcome.text == "Hello there"
    assert isinstance(outcome.error, LLMCutOff)
    assert finish in str(outcome.error)
    assert outcome.usage is not None


@pytest.mark.parametrize("finish", [5, True, ["stop"], {"reason": "stop"}], ids=str)
async def test_a_finish_reason_that_is_not_a_string_is_not_a_good_one(
    connect: Connect, finish: Any
) -> None:
    _, error = await refused(connect, Reply("Hello there", finish=finish))
    assert isinstance(error, LLMCutOff)


@pytest.mark.parametrize("finish", ["x\x00\n\ud83dy" * 200, "<script>" * 50])
async def test_a_finish_reason_in_a_message_is_short_and_printable(
    connect: Connect, finish: str
) -> None:
    _, error = await refused(connect, Reply("Hello there", finish=finish))
    assert str(error).isprintable()
    assert len(str(error)) < 150


@pytest.mark.parametrize("finish", [None, ""])
async def test_an_answer_without_a_finish_reason_has_broken_off(
    connect: Connect, finish: Any
) -> None:
    _, error = await refused(connect, Reply("Hello there", finish=finish))
    assert type(error) is LLMUnavailable


@pytest.mark.parametrize("bad", ["length", "content_filter"])
async def test_a_finish_reason_of_an_incomplete_answer_is_not_replaced(bad: str) -> None:
    event = openai_delta({}, finish_reason=bad)
    _, error = await refused(openai_chat, Reply("Hello there", events=[event]))
    assert isinstance(error, LLMCutOff | LLMRefused)


@pytest.mark.parametrize("word", ["null", "none", "", "in_progress"])
async def test_a_placeholder_before_the_finish_reason_is_ignored(word: str) -> None:
    events = [openai_delta({"content": "!"}, finish_reason=word)]
    assert (await whole(openai_chat, Reply("Hello there", events=events))).text == "Hello there!"


# Errors in the middle of an answer

LIMITED: Mapping[str, Any] = {
    "a number": {"error": {"code": 429, "message": "Slow down."}},
    "a number in a string": {"error": {"code": "429"}},
    "a word": {"error": {"code": "rate_limit_exceeded", "type": "tokens"}},
    "a type": {"error": {"type": "rate_limit_error"}},
    "a type with a null code": {"error": {"type": "too_many_requests", "code": None}},
    "a status": {"error": {"status": "RESOURCE_EXHAUSTED"}},
    "a status in numbers": {"error": {"status": 429, "code": None}},
    "a sentence": {"error": "Rate limit reached for this model"},
    "a sentence in an object": {"error": {"message": "429 Too Many Requests", "code": None}},
    "wrapped twice": {"error": {"error": {"code": 429}}},
    "with an empty choice": {
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
        "error": {"code": 429},
    },
    "in the choice": openai_delta({}, finish_reason="error", error={"code": 429}),
    "not wrapped": {"object": "error", "code": 429, "message": "Slow down."},
    "not wrapped, a word": {"type": "rate_limit_error", "message": "Slow down."},
}


@pytest.mark.parametrize("event", LIMITED.values(), ids=LIMITED)
async def test_a_rate_limit_in_the_middle_of_openais_stream_is_recognized(event: Any) -> None:
    reply = Reply("one two", events=[event], fault="truncate")
    text, error = await refused(openai_chat, reply)
    assert text == "one "
    assert type(error) is LLMRateLimited
    assert (error.code, error.retryable) == ("llm_rate_limited", True)


@pytest.mark.parametrize("named", ["error", None])
async def test_a_rate_limit_in_an_error_event_is_recognized(connect: Connect, named: Any) -> None:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"Slow down."}}'
    name = b"event: error\n" if named else b"event: message_delta\n"
    event = name + b"data: " + body + b"\n\n"
    _, error = await refused(connect, Reply("one two", events=[event], fault="truncate"))
    assert type(error) is LLMRateLimited


async def test_a_scripted_rate_limit_is_recognized(connect: Connect) -> None:
    text, error = await refused(connect, Reply("one two", fault="rate_limit"))
    assert (text, type(error)) == ("one ", LLMRateLimited)


OTHERS: Mapping[str, tuple[Any, type[LLMError], bool]] = {
    "no credit": ({"code": "insufficient_quota", "status": 429}, LLMError, False),
    "too long": (
        {"code": "context_length_exceeded", "type": "invalid_request_error"},
        LLMError,
        False,
    ),
    "overloaded": ({"type": "overloaded_error"}, LLMUnavailable, True),
    "a server error": ({"type": "server_error", "code": None}, LLMUnavailable, True),
    "a gateway's": ({"code": 502}, LLMUnavailable, True),
    "unknown": ({"message": "It broke.", "code": "E17"}, LLMUnavailable, True),
    "a status of success": ({"code": 200}, LLMUnavailable, True),
    "a suspended account": ({"type": "exceeded_current_quota_error"}, LLMError, False),
    "a filter": ({"code": "content_filter", "message": "Filtered."}, LLMRefused, False),
    "a filter with a status": ({"code": "content_filter", "status": 400}, LLMRefused, False),
    "a key": ({"code": "invalid_api_key"}, LLMError, False),
}


@pytest.mark.parametrize(("body", "kind", "retryable"), OTHERS.values(), ids=OTHERS)
async def test_an_error_in_the_middle_of_a_stream_raises_the_matching_llm_error(
    body: Any, kind: type[LLMError], retryable: bool
) -> None:
    reply = Reply("one two", events=[{"error": body}], fault="truncate")
    _, error = await refused(openai_chat, reply)
    assert (type(error), error.retryable) == (kind, bool(retryable))


# What an SDK raises


class Breaking:
    """Replaces an SDK's client: it raises in the middle of its stream."""

    def __init__(self, error: Exception, *events: Any) -> None:
        self.chat = SimpleNamespace(completions=self)
        self.messages = self
        self._error = error
        self._events = events

    async def create(self, **request: Any) -> Breaking:
        return self

    async def __aenter__(self) -> Breaking:
        return self

    async def __aexit__(self, *raised: object) -> None:
        return

    async def __aiter__(self) -> AsyncIterator[Any]:
        for event in self._events:
            yield event
        raise self._error


class Odd(Exception):
    """An exception of a proxy, or of a library between the SDK and the network."""

    def __init__(self, **members: Any) -> None:
        super().__init__("key sk-secret")
        self.__dict__.update(members)


HEADERS = {"retry-after": "7"}
RESPONSE = httpx2.Response(429, headers=HEADERS, request=httpx2.Request("POST", "http://x"))
RAISED: Mapping[str, tuple[Exception, type[LLMError], float | None]] = {
    "a status": (Odd(status_code=429), LLMRateLimited, None),
    "a status and a response": (Odd(status_code=429, response=RESPONSE), LLMRateLimited, 7),
    "a response": (
        httpx2.HTTPStatusError("", request=RESPONSE.request, response=RESPONSE),
        LLMRateLimited,
        7,
    ),
    "a body": (Odd(body={"error": {"code": 429}}, status_code=200), LLMRateLimited, None),
    "plain headers": (
        Odd(response=SimpleNamespace(status_code=503, headers=HEADERS)),
        LLMUnavailable,
        7,
    ),
    "no credit": (Odd(status_code=429, body={"code": "insufficient_quota"}), LLMError, None),
    "a filter": (Odd(status_code=400, body={"code": "content_filter"}), LLMRefused, None),
    "odd members": (Odd(status_code="x", response=5, body=[None]), LLMUnavailable, None),
    "nothing": (Odd(), LLMUnavailable, None),
}


@pytest.mark.parametrize(("error", "kind", "wait"), RAISED.values(), ids=RAISED)
@pytest.mark.parametrize("adapter", [OpenAIChat, AnthropicMessages])
async def test_an_exception_in_the_middle_of_a_stream_raises_the_llm_error_of_its_status(
    adapter: Any, error: Exception, kind: type[LLMError], wait: float | None
) -> None:
    text = openai_delta({"content": "one "}) | anthropic_delta(type="text_delta", text="one ")
    pieces = []
    with pytest.raises(LLMError) as raised:
        async for piece in adapter("fake", client=Breaking(error, text)).stream(HELLO):
            pieces.append(piece)
    assert pieces == ["one "]
    assert (type(raised.value), raised.value.retry_after) == (kind, wait)


SENTENCES = [
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
    "prompt is too long: 210000 tokens > 200000 maximum",
    "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000",
    "the request exceeds the available context size, try increasing it",
    "The input token count (40000) exceeds the maximum number of tokens allowed (32768).",
    "Input is too long for requested model.",
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "Context size has been exceeded.",
]


@pytest.mark.parametrize("status", [400, 500, 200])
@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize("bare", [False, True], ids=["in an object", "as the error"])
@pytest.mark.parametrize("adapter", [OpenAIChat, AnthropicMessages])
async def test_a_conversation_that_is_too_long_is_recognized_by_the_message(
    adapter: Any, bare: bool, sentence: str, status: int
) -> None:
    told = {"type": "invalid_request_error", "message": sentence, "code": None}
    body = {"error": sentence if bare else told}
    said, error = await failing(adapter, Odd(status_code=status, body=body))
    assert (said, error.retryable) == ("The conversation is too long for the model.", False)


async def test_an_account_without_credit_is_recognized_by_the_message() -> None:
    message = "Your credit balance is too low to access the Anthropic API."
    body = {"error": {"type": "invalid_request_error", "message": message}}
    said, _ = await failing(AnthropicMessages, Odd(status_code=400, body=body))
    assert said == "The account with the model's provider has no credit."


async def failing(adapter: Any, error: Exception) -> tuple[str, LLMError]:
    with pytest.raises(LLMError) as raised:
        async for _ in adapter("fake", client=Breaking(error)).stream(HELLO):
            pass
    return str(raised.value), raised.value


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "insufficient_quota"), (403, None), (400, "invalid_api_key"), (200, "invalid_api_key")],
)
@pytest.mark.parametrize("adapter", [OpenAIChat, AnthropicMessages])
async def test_an_error_about_credentials_in_a_stream_does_not_quote_them(
    adapter: Any, status: int, code: str | None
) -> None:
    error = Odd(status_code=status, body={"code": code})
    with pytest.raises(LLMError) as raised:
        async for _ in adapter("fake", client=Breaking(error)).stream(HELLO):
            pass
    assert "sk-secret" not in "".join(traceback.format_exception(raised.value))

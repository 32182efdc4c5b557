"""Both adapters with their real SDKs against the fake model server: the same tests for each."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from agentws.agents.llm import (
    LLM,
    LLMCutOff,
    LLMError,
    LLMPiece,
    LLMRateLimited,
    LLMRefused,
    LLMUnavailable,
)
from agentws.integrations.anthropic import AnthropicMessages
from agentws.integrations.openai import OpenAIChat
from agentws.protocol.messages import (
    AssistantMessage,
    FunctionCall,
    ImagePart,
    Message,
    ReasoningMessage,
    SystemMessage,
    TextPart,
    TokenUsage,
    ToolCall,
    ToolMessage,
    UrlSource,
    UserMessage,
)
from agentws.testing.fakellm import FakeLLM, Fault, Reply

KEY = "sk-secret-of-the-host"
HELLO: list[Message] = [UserMessage(id="1", content="Hello there")]

Connect = Callable[..., LLM]


def openai_chat(fake: FakeLLM, **options: Any) -> LLM:
    return OpenAIChat("fake", base_url=fake.openai_url, api_key=KEY, **{"max_retries": 0} | options)


def anthropic_messages(fake: FakeLLM, **options: Any) -> LLM:
    return AnthropicMessages(
        "fake", base_url=fake.anthropic_url, api_key=KEY, **{"max_retries": 0} | options
    )


@pytest.fixture(params=[openai_chat, anthropic_messages])
def connect(request: pytest.FixtureRequest) -> Connect:
    return request.param  # type: ignore[no-any-return]


async def answer(llm: LLM, messages: list[Message] = HELLO) -> list[LLMPiece]:
    async with aclosing(llm.stream(messages)) as pieces:
        return [piece async for piece in pieces]


async def failure(llm: LLM) -> tuple[list[str], LLMError]:
    texts: list[str] = []
    with pytest.raises(LLMError) as raised:
        async with aclosing(llm.stream(HELLO)) as pieces:
            async for piece in pieces:
                texts += [piece] if isinstance(piece, str) else []
    return texts, raised.value


async def test_text_streams_in_deltas_and_usage_comes_last(connect: Connect) -> None:
    async with FakeLLM(["Good to see you."]) as fake, connect(fake) as llm:
        *texts, usage = await answer(llm)
        await fake.settled()
    assert texts == ["Good ", "to ", "see ", "you."]
    assert isinstance(usage, TokenUsage)
    assert (usage.model, usage.input_tokens, usage.output_tokens, usage.total_tokens) == (
        "fake",
        2,
        4,
        6,
    )
    assert (len(fake.requests), fake.completed, fake.disconnects) == (1, 1, 0)


async def test_deltas_are_yielded_while_the_provider_is_still_sending(connect: Connect) -> None:
    async with FakeLLM([Reply("one two", fault="stall")]) as fake, connect(fake) as llm:
        async with aclosing(llm.stream(HELLO)) as pieces:
            assert await anext(pieces) == "one "


async def test_closing_the_stream_closes_the_request(connect: Connect) -> None:
    async with FakeLLM([Reply("one two three", fault="stall")]) as fake, connect(fake) as llm:
        async with aclosing(llm.stream(HELLO)) as pieces:
            await anext(pieces)
        await fake.settled()
        assert (fake.completed, fake.disconnects) == (0, 1)


async def test_cancelling_the_reader_closes_the_request(connect: Connect) -> None:
    async with FakeLLM([Reply("one two three", fault="stall")]) as fake, connect(fake) as llm:
        reader = asyncio.create_task(answer(llm))
        await fake.asked()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await fake.settled()
        assert (fake.completed, fake.disconnects) == (0, 1)


async def test_leaving_a_cancel_scope_closes_the_request(connect: Connect) -> None:
    async with FakeLLM([Reply("one two", fault="stall")]) as fake, connect(fake) as llm:
        with anyio.CancelScope() as scope:
            async with aclosing(llm.stream(HELLO)) as pieces:
                async for _ in pieces:
                    scope.cancel()
        await fake.settled()
        assert (fake.completed, fake.disconnects) == (0, 1)


async def test_a_request_without_an_answer_yet_is_cancelled_too(connect: Connect) -> None:
    async with FakeLLM([Reply("", fault="stall")]) as fake, connect(fake) as llm:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer, llm)
            await fake.asked()
            tasks.cancel_scope.cancel()
        await fake.settled()
        assert (fake.completed, fake.disconnects) == (0, 1)


@pytest.mark.parametrize(
    ("status", "error", "retryable"),
    [
        (400, LLMError, False),
        (401, LLMError, False),
        (403, LLMError, False),
        (404, LLMError, False),
        (413, LLMError, False),
        (418, LLMError, False),
        (429, LLMRateLimited, True),
        (500, LLMUnavailable, True),
        (503, LLMUnavailable, True),
        (529, LLMUnavailable, True),
    ],
)
async def test_a_refused_request_raises_the_matching_llm_error(
    connect: Connect, status: int, error: type[LLMError], retryable: bool
) -> None:
    said = f"Your key {KEY} is not welcome at 10.0.0.7"
    async with FakeLLM([Reply(said, status=status)]) as fake, connect(fake) as llm:
        texts, raised = await failure(llm)
    assert (texts, type(raised), raised.retryable) == ([], error, retryable)
    assert KEY not in str(raised) and "10.0.0.7" not in str(raised)


@pytest.mark.parametrize("status", [401, 403])
async def test_an_error_about_credentials_does_not_quote_them(
    connect: Connect, status: int
) -> None:
    said = f"Incorrect API key provided: {KEY}"
    async with FakeLLM([Reply(said, status=status)]) as fake, connect(fake) as llm:
        _, raised = await failure(llm)
    assert KEY not in "".join(traceback.format_exception(raised))


async def test_a_rate_limit_has_the_providers_retry_after(connect: Connect) -> None:
    limited = Reply(status=429, headers={"retry-after": "7"})
    async with FakeLLM([limited]) as fake, connect(fake) as llm:
        _, raised = await failure(llm)
    assert raised.retry_after == 7


async def test_a_refused_request_is_retried_before_it_fails(connect: Connect) -> None:
    busy = Reply(status=429, headers={"retry-after-ms": "1"})
    async with FakeLLM([busy, "Fine."]) as fake, connect(fake, max_retries=1) as llm:
        assert (await answer(llm))[0] == "Fine."
        assert len(fake.requests) == 2


@pytest.mark.parametrize("fault", ["drop", "truncate", "malformed", "error", "rate_limit"])
async def test_an_answer_that_breaks_off_yields_its_text_and_then_an_error(
    connect: Connect, fault: Fault
) -> None:
    async with FakeLLM([Reply("one two three", fault=fault)]) as fake, connect(fake) as llm:
        texts, raised = await failure(llm)
        await fake.settled()
    assert texts == ["one "]
    assert isinstance(raised, LLMUnavailable)
    assert raised.retryable
    assert len(fake.requests) == 1


async def test_a_provider_that_sends_nothing_times_out(connect: Connect) -> None:
    async with (
        FakeLLM([Reply("one two", fault="stall")]) as fake,
        connect(fake, timeout=1.0) as llm,
    ):
        texts, raised = await failure(llm)
        await fake.settled()
        assert fake.disconnects == 1
    assert texts == ["one "]
    assert isinstance(raised, LLMUnavailable)


async def test_a_provider_that_can_not_be_reached_is_unavailable(connect: Connect) -> None:
    async with FakeLLM() as fake:
        pass
    async with connect(fake) as llm:
        texts, raised = await failure(llm)
    assert (texts, str(raised)) == ([], "The model could not be reached.")
    assert raised.retryable


async def test_an_answer_at_the_length_limit_is_cut_off(connect: Connect) -> None:
    async with FakeLLM([Reply("one two", finish="length")]) as fake, connect(fake) as llm:
        texts, raised = await failure(llm)
    assert texts == ["one ", "two"]
    assert isinstance(raised, LLMCutOff)


async def test_a_filtered_answer_is_refused(connect: Connect) -> None:
    async with FakeLLM([Reply("one two", finish="refused")]) as fake, connect(fake) as llm:
        _, raised = await failure(llm)
    assert isinstance(raised, LLMRefused)


async def test_a_client_of_the_caller_is_not_closed() -> None:
    import openai

    async with FakeLLM() as fake:
        async with openai.AsyncOpenAI(base_url=fake.openai_url, api_key=KEY) as client:
            async with OpenAIChat("fake", client=client) as llm:
                await answer(llm)
            assert not client.is_closed()


CALL = ToolCall(id="c1", function=FunctionCall(name="add", arguments='{"a":1}'))
BROKEN = ToolCall(id="c2", function=FunctionCall(name="add", arguments='{"a":'))
PICTURE = ImagePart(source=UrlSource(value="https://example.com/cat.png"))
STORY: list[Message] = [
    AssistantMessage(id="0", content="Welcome!"),
    SystemMessage(id="1", content="Be brief."),
    UserMessage(id="2", content=[TextPart(text="Look:"), PICTURE]),
    ReasoningMessage(id="3", content="Hm."),
    AssistantMessage(id="4", content="Adding.", tool_calls=[CALL, BROKEN]),
    ToolMessage(id="5", content="1", tool_call_id="c1"),
    ToolMessage(id="6", content="", tool_call_id="c2", error="stopped"),
    AssistantMessage(id="7", content=None),
    UserMessage(id="8", content="Thanks"),
    UserMessage(id="9", content=" "),
]


async def sent(connect: Connect) -> dict[str, Any]:
    async with FakeLLM() as fake, connect(fake) as llm:
        async with aclosing(llm.stream(STORY, instructions="You add.")) as pieces:
            async for _ in pieces:
                pass
    return fake.requests[0]


async def test_the_request_to_openai_contains_the_conversation() -> None:
    assert (await sent(openai_chat))["messages"] == [
        {"role": "system", "content": "You add."},
        {"role": "assistant", "content": "Welcome!"},
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": PICTURE.source.value}},
            ],
        },
        {
            "role": "assistant",
            "content": "Adding.",
            "tool_calls": [
                {
                    "id": id,
                    "type": "function",
                    "function": {"name": "add", "arguments": arguments},
                }
                for id, arguments in (("c1", '{"a":1}'), ("c2", "{}"))
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "tool", "tool_call_id": "c2", "content": "stopped"},
        {"role": "user", "content": "Thanks\n\n[An empty message.]"},
    ]


async def test_the_request_to_anthropic_contains_the_conversation() -> None:
    body = await sent(anthropic_messages)
    assert body["system"] == "You add.\n\nBe brief."
    assert body["messages"] == [
        {"role": "user", "content": [text("[The conversation begins.]")]},
        {"role": "assistant", "content": [text("Welcome!")]},
        {
            "role": "user",
            "content": [
                text("Look:"),
                {"type": "image", "source": {"type": "url", "url": PICTURE.source.value}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                text("Adding."),
                {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
                {"type": "tool_use", "id": "c2", "name": "add", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                tool_result("c1", "1", False),
                tool_result("c2", "stopped", True),
                text("Thanks"),
                text("[An empty message.]"),
            ],
        },
    ]


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def tool_result(call: str, content: str, failed: bool) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call, "content": content, "is_error": failed}


async def test_parameters_are_added_to_the_request(connect: Connect) -> None:
    async with FakeLLM() as fake, connect(fake, parameters={"temperature": 0.25}) as llm:
        await answer(llm)
    assert fake.requests[0]["temperature"] == 0.25


async def test_the_usage_option_can_be_left_out_for_servers_without_it() -> None:
    async with FakeLLM(["Hi"]) as fake, openai_chat(fake, include_usage=False) as llm:
        assert await answer(llm) == ["Hi"]
    assert "stream_options" not in fake.requests[0]

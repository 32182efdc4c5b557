"""A request that can't be made at all is not retried, and its error does not quote the API key."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import anthropic
import anyio
import openai
import pytest

from agentws.agents.llm import LLM, LLMError, LLMRateLimited, LLMUnavailable
from agentws.integrations.anthropic import AnthropicMessages
from agentws.integrations.openai import OpenAIChat
from agentws.testing.fakellm import FakeLLM, Reply

from .wires import HELLO, HTTP, Connect, refused

KEY = "sk-secret"
NOT_MADE = "The request to the model could not be made."

Adapter = Callable[..., LLM]


def openai_chat(http: Any, url: str, key: str | None, **options: Any) -> LLM:
    client = openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, http_client=http)
    return OpenAIChat("fake", client=client, **options)


def anthropic_messages(http: Any, url: str, key: str | None, **options: Any) -> LLM:
    client = anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0, http_client=http)
    return AnthropicMessages("fake", client=client, **options)


ADAPTERS: Mapping[str, Adapter] = {"openai": openai_chat, "anthropic": anthropic_messages}


@pytest.fixture(params=list(ADAPTERS))
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return ADAPTERS[request.param]


async def failure(llm: LLM) -> LLMError:
    with pytest.raises(LLMError) as raised:
        async for _ in llm.stream(HELLO):
            pass
    return raised.value


async def asked(adapter: Adapter, key: str | None = KEY, **options: Any) -> LLMError:
    """The error of a request that does not get as far as a good server."""
    async with FakeLLM() as fake, HTTP.AsyncClient(verify=False, trust_env=False) as http:
        error = await failure(adapter(http, fake.url, key, **options))
        assert fake.requests == []
        return error


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\r\nx: y", f"{KEY}\x00", f" {KEY} "])
async def test_the_error_for_a_key_with_a_line_break_speaks_of_it_and_does_not_quote_it(
    adapter: Adapter, key: str
) -> None:
    error = await asked(adapter, key)
    assert (type(error), error.retryable) == (LLMError, False)
    assert "API key" in str(error)
    assert KEY not in "".join(traceback.format_exception(error))


async def test_a_request_without_a_key_is_not_retryable(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    error = await asked(anthropic_messages, None)
    assert (type(error), str(error), error.retryable) == (LLMError, NOT_MADE, False)
    assert "api_key" in str(error.__cause__)


@pytest.mark.parametrize(
    "value", [object(), "\ud83d", float("nan")], ids=["no JSON", "half a character", "NaN"]
)
async def test_parameters_that_can_not_be_encoded_are_not_retryable(
    adapter: Adapter, value: Any
) -> None:
    error = await asked(adapter, parameters={"odd": value})
    assert (type(error), str(error), error.retryable) == (LLMError, NOT_MADE, False)


class Unusable:
    """Replaces an SDK's client: it raises before it sends the request."""

    def __init__(self, error: Exception) -> None:
        self.chat = SimpleNamespace(completions=self)
        self.messages = self
        self._error = error

    async def create(self, **request: Any) -> Any:
        raise self._error


BEFORE: list[tuple[Any, Exception, type[LLMError], str]] = [
    (OpenAIChat, openai.OpenAIError("No credentials."), LLMError, NOT_MADE),
    (AnthropicMessages, anthropic.AnthropicError("No credentials."), LLMError, NOT_MADE),
] + [
    (adapter, ExceptionGroup("", [OSError()]), LLMUnavailable, "The model could not be reached.")
    for adapter in (OpenAIChat, AnthropicMessages)
]


@pytest.mark.parametrize(("adapter", "error", "kind", "said"), BEFORE)
async def test_an_exception_before_the_response_raises_the_llm_error_for_it(
    adapter: Any, error: Exception, kind: type[LLMError], said: str
) -> None:
    raised = await failure(adapter("fake", client=Unusable(error)))
    assert (type(raised), str(raised)) == (kind, said)


async def test_a_model_whose_answer_breaks_off_was_reached(connect: Connect) -> None:
    text, error = await refused(connect, Reply("one two", fault="drop"))
    assert (text, type(error)) == ("one ", LLMUnavailable)
    assert str(error) == "The model's answer broke off."


def answering(body: str, kind: str = "application/json") -> Any:
    """A transport that answers every request with ``body`` and the status 200."""

    def answer(request: Any) -> Any:
        return HTTP.Response(200, headers={"content-type": kind}, text=body)

    return HTTP.AsyncClient(transport=HTTP.MockTransport(answer))


LONG: Mapping[str, Mapping[str, str]] = {
    "seconds": {"retry-after": "86400"},
    "milliseconds": {"retry-after-ms": "86400000"},
    "no end": {"retry-after": "inf"},
    "a date": {"retry-after": format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)},
    "no date": {"retry-after": "Mon, 99 Jan 9999 25:00:00 GMT"},
    "and to ask again": {"retry-after": "86400", "x-should-retry": "true"},
}


@pytest.mark.parametrize("headers", LONG.values(), ids=LONG)
@pytest.mark.parametrize("adapter", [OpenAIChat, AnthropicMessages])
async def test_a_provider_that_asks_to_wait_for_a_day_is_not_waited_for(
    adapter: Any, headers: Mapping[str, str]
) -> None:
    async with FakeLLM([Reply(status=429, headers=headers)]) as fake:
        url = fake.openai_url if adapter is OpenAIChat else fake.anthropic_url
        async with adapter("fake", base_url=url, api_key=KEY, max_retries=1) as llm:
            with anyio.fail_after(30):
                assert type(await failure(llm)) is LLMRateLimited


UNAVAILABLE = "The model is not available right now."
BODIES: list[tuple[Any, type[LLMError], str]] = [
    ({"error": {"code": 429}}, LLMRateLimited, "The model is receiving too many requests."),
    ({"type": "error", "error": {"type": "overloaded_error"}}, LLMUnavailable, UNAVAILABLE),
    ({"error": "out of memory"}, LLMUnavailable, UNAVAILABLE),
    (
        {"error": {"code": "model_not_found"}},
        LLMError,
        "The model does not exist, or is not available to this account.",
    ),
    (
        {"error": {"type": "invalid_api_key", "message": KEY}},
        LLMError,
        "The model's provider did not accept the credentials it was given.",
    ),
    ({"id": "x"}, LLMUnavailable, "The model's answer broke off."),
    ([], LLMUnavailable, "The model's answer broke off."),
]


@pytest.mark.parametrize(("body", "kind", "said"), BODIES)
async def test_an_error_instead_of_a_stream_is_read(
    adapter: Adapter, body: Any, kind: type[LLMError], said: str
) -> None:
    async with answering(json.dumps(body)) as http:
        error = await failure(adapter(http, "http://model.example", KEY, max_retries=0))
    assert (type(error), str(error)) == (kind, said)
    assert KEY not in "".join(traceback.format_exception(error))


async def test_a_stream_with_another_content_type_is_read(adapter: Adapter) -> None:
    events: list[dict[str, Any]] = [
        {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    ]
    body = "".join(
        f"event: {one.get('type', 'message')}\ndata: {json.dumps(one)}\n\n" for one in events
    )
    for kind in ("application/json", "text/plain"):
        async with answering(body, kind) as http:
            llm = adapter(http, "http://model.example", KEY)
            assert [piece async for piece in llm.stream(HELLO)] == ["Hi"]

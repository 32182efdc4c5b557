"""OpenAI's chat completions, and every server that speaks them, as an :class:`LLM`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from ..agents.llm import (
    BROKE_OFF,
    LLM,
    TIMED_OUT,
    UNREACHABLE,
    LLMCutOff,
    LLMError,
    LLMRefused,
    LLMUnavailable,
    readable,
    speaks_of_credentials,
    status_error,
)
from ..protocol.messages import (
    AssistantMessage,
    DeveloperMessage,
    Message,
    SystemMessage,
    TokenUsage,
    ToolMessage,
    UserMessage,
)

try:
    import openai
    from openai.types.chat import ChatCompletionChunk
    from openai.types.completion_usage import CompletionUsage
except ImportError as missing:
    raise ImportError('OpenAIChat needs the OpenAI SDK: pip install "agentws[openai]"') from missing


class OpenAIChat(LLM):
    """A chat model of OpenAI, or of any server with a compatible ``base_url``.

    ``client`` is used as it is and stays the caller's to close; otherwise one is made with
    ``base_url``, ``api_key`` (absent: wherever the SDK looks for them), ``timeout`` (seconds of
    silence from the provider) and ``max_retries`` (of a request that has not begun to answer).
    ``parameters`` are added to the body of every request, such as ``{"temperature": 0.2}``.
    ``include_usage=False`` is for servers that don't know ``stream_options``.
    """

    def __init__(
        self,
        model: str,
        *,
        client: openai.AsyncOpenAI | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 120.0,
        max_retries: int = 2,
        include_usage: bool = True,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self._owned = client is None
        self._client = client or openai.AsyncOpenAI(
            base_url=base_url, api_key=api_key, timeout=timeout, max_retries=max_retries
        )
        self._parameters: dict[str, Any] = dict(parameters or {})
        if include_usage:
            self._parameters.setdefault("stream_options", {"include_usage": True})

    async def stream(
        self, messages: Sequence[Message], *, instructions: str | None = None
    ) -> AsyncGenerator[str | TokenUsage, None]:
        conversation = _conversation(messages, instructions)
        usage: CompletionUsage | None = None
        finish: str | None = None
        with _translated():
            chunks = await self._request(conversation)
            async with chunks:
                async for chunk in chunks:
                    usage = chunk.usage or usage
                    for choice in chunk.choices or ():
                        finish = choice.finish_reason or finish
                        if choice.delta.content:
                            yield choice.delta.content
        if usage is not None:
            yield _usage(usage, self.model)
        _require_whole(finish)

    async def _request(
        self, conversation: list[dict[str, Any]]
    ) -> openai.AsyncStream[ChatCompletionChunk]:
        return await self._client.chat.completions.create(
            model=self.model,
            messages=cast("Any", conversation),
            stream=True,
            extra_body=self._parameters,
        )

    async def aclose(self) -> None:
        if self._owned:
            await self._client.close()


def _conversation(messages: Sequence[Message], instructions: str | None) -> list[dict[str, Any]]:
    start = [{"role": "system", "content": instructions}] if instructions else []
    return start + [entry for message in messages if (entry := _entry(message))]


def _entry(message: Message) -> dict[str, Any] | None:
    match message:
        case UserMessage(content=content):
            return {"role": "user", "content": readable(content)}
        case SystemMessage(content=text) | DeveloperMessage(content=text):
            # Compatible servers know "system" only, and OpenAI reads it as "developer".
            return {"role": "system", "content": text}
        case AssistantMessage():
            return _assistant(message)
        case ToolMessage(tool_call_id=call, content=content, error=error):
            return {"role": "tool", "tool_call_id": call, "content": readable(content) or error}
        case _:
            return None


def _assistant(message: AssistantMessage) -> dict[str, Any] | None:
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": call.function.arguments},
        }
        for call in message.tool_calls or ()
    ]
    if calls:
        return {"role": "assistant", "content": message.content or None, "tool_calls": calls}
    return {"role": "assistant", "content": message.content} if message.content else None


def _usage(usage: CompletionUsage, model: str) -> TokenUsage:
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    return TokenUsage(
        provider="openai",
        model=model,
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
        reasoning_tokens=completion.reasoning_tokens if completion else None,
        cached_input_tokens=prompt.cached_tokens if prompt else None,
    )


def _require_whole(finish: str | None) -> None:
    match finish:
        case "length":
            raise LLMCutOff
        case "content_filter":
            raise LLMRefused
        case None:
            # A proxy that gives up often ends the body politely; only the reason tells.
            raise LLMUnavailable(BROKE_OFF)


@contextmanager
def _translated() -> Iterator[None]:
    """The edge: no exception of the SDK or of its transport gets past it."""
    try:
        yield
    except Exception as error:
        status = error.status_code if isinstance(error, openai.APIStatusError) else 0
        raise _meaning(error) from (None if speaks_of_credentials(status) else error)


def _meaning(error: Exception) -> LLMError:
    match error:
        case openai.APIStatusError(code="context_length_exceeded"):
            return status_error(413)
        case openai.APIStatusError(code="insufficient_quota"):
            return status_error(402)
        case openai.APIStatusError():
            headers = error.response.headers
            return status_error(error.status_code, retry_after=headers.get("retry-after"))
        case openai.APITimeoutError():
            return LLMUnavailable(TIMED_OUT)
        case openai.APIConnectionError():
            return LLMUnavailable(UNREACHABLE)
        case _:
            return LLMUnavailable(BROKE_OFF)

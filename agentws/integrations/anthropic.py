"""Anthropic's Messages API as an :class:`LLM`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

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
    ToolCall,
    ToolMessage,
    UserMessage,
)

try:
    import anthropic
    from anthropic.types import Usage
except ImportError as missing:
    raise ImportError(
        'AnthropicMessages needs the Anthropic SDK: pip install "agentws[anthropic]"'
    ) from missing

Block = dict[str, Any]


class AnthropicMessages(LLM):
    """A model behind Anthropic's Messages API.

    ``max_tokens`` bounds one answer. ``client`` is used as it is and stays the caller's to close;
    otherwise one is made with ``base_url``, ``api_key`` (absent: wherever the SDK looks for them),
    ``timeout`` (seconds of silence from the provider) and ``max_retries`` (of a request that has
    not begun to answer). ``parameters`` are added to the body of every request, such as
    ``{"top_p": 0.9}``.
    """

    def __init__(
        self,
        model: str,
        *,
        max_tokens: int = 8192,
        client: anthropic.AsyncAnthropic | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 120.0,
        max_retries: int = 2,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.max_tokens = max_tokens
        self._owned = client is None
        self._client = client or anthropic.AsyncAnthropic(
            base_url=base_url, api_key=api_key, timeout=timeout, max_retries=max_retries
        )
        self._parameters: dict[str, Any] = dict(parameters or {})

    async def stream(
        self, messages: Sequence[Message], *, instructions: str | None = None
    ) -> AsyncGenerator[str | TokenUsage, None]:
        request = self._request(messages, instructions)
        usage: Usage | None = None
        finish: str | None = None
        with _translated():
            async with self._client.messages.stream(**request) as events:
                async for event in events:
                    if event.type == "text" and event.text:
                        yield event.text
                    elif event.type == "message_stop":
                        usage = event.message.usage
                        finish = event.message.stop_reason
        if usage is not None:
            yield _usage(usage, self.model)
        _require_whole(finish)

    def _request(self, messages: Sequence[Message], instructions: str | None) -> dict[str, Any]:
        system = [instructions] if instructions else []
        system += [m.content for m in messages if isinstance(m, SystemMessage | DeveloperMessage)]
        request = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "messages": _conversation(messages),
            "extra_body": self._parameters,
        }
        return request | {"system": "\n\n".join(system)} if system else request

    async def aclose(self) -> None:
        if self._owned:
            await self._client.close()


def _conversation(messages: Sequence[Message]) -> list[Block]:
    """The API wants a user first, then the roles in turn, and the results of one step together."""
    entries: list[Block] = []
    for role, blocks in map(_blocks, messages):
        if not blocks:
            continue
        if not entries and role == "assistant":
            entries.append({"role": "user", "content": [_text("[The conversation begins.]")]})
        if entries and entries[-1]["role"] == role:
            entries[-1]["content"] += blocks
        else:
            entries.append({"role": role, "content": blocks})
    return entries


def _blocks(message: Message) -> tuple[str, list[Block]]:
    match message:
        case UserMessage(content=content):
            # An empty text block is refused, and the message must not vanish.
            text = readable(content)
            return "user", [_text(text if text.strip() else "[An empty message.]")]
        case AssistantMessage(content=content, tool_calls=calls):
            said = [_text(content)] if content and content.strip() else []
            return "assistant", said + [_tool_use(call) for call in calls or ()]
        case ToolMessage():
            return "user", [_tool_result(message)]
        case _:
            return "", []


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _tool_use(call: ToolCall) -> Block:
    return {
        "type": "tool_use",
        "id": call.id,
        "name": call.function.name,
        "input": _arguments(call.function.arguments),
    }


def _tool_result(message: ToolMessage) -> Block:
    return {
        "type": "tool_result",
        "tool_use_id": message.tool_call_id,
        "content": readable(message.content) or message.error or "",
        "is_error": message.error is not None,
    }


def _arguments(text: str) -> dict[str, Any]:
    """A call that was stopped while it was being written has broken arguments, which the API
    refuses."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _usage(usage: Usage, model: str) -> TokenUsage:
    # Anthropic counts cached tokens beside the input; everybody else, within it.
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return TokenUsage(
        provider="anthropic",
        model=model,
        input_tokens=usage.input_tokens + cached,
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + cached + usage.output_tokens,
        cached_input_tokens=usage.cache_read_input_tokens,
        cache_write_input_tokens=usage.cache_creation_input_tokens,
    )


def _require_whole(finish: str | None) -> None:
    match finish:
        case "max_tokens" | "model_context_window_exceeded":
            raise LLMCutOff
        case "refusal":
            raise LLMRefused
        case None:
            # A proxy that gives up often ends the body politely; only the last event tells.
            raise LLMUnavailable(BROKE_OFF)


_BY_EVENT = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "authentication_error": 401,
    "permission_error": 403,
    "invalid_request_error": 400,
    "request_too_large": 413,
    "timeout_error": 504,
}


@contextmanager
def _translated() -> Iterator[None]:
    """The edge: no exception of the SDK or of its transport gets past it."""
    try:
        yield
    except Exception as error:
        raise _meaning(error) from (None if speaks_of_credentials(_status(error)) else error)


def _status(error: Exception) -> int:
    if not isinstance(error, anthropic.APIStatusError):
        return 0
    if error.status_code >= 400:
        return error.status_code
    # An error in the middle of a stream comes on a response that began well, and only its type
    # says more; older SDKs don't have it.
    return _BY_EVENT.get(getattr(error, "type", None) or "", 500)


def _meaning(error: Exception) -> LLMError:
    match error:
        case anthropic.APIStatusError():
            headers = error.response.headers
            return status_error(_status(error), retry_after=headers.get("retry-after"))
        case anthropic.APITimeoutError():
            return LLMUnavailable(TIMED_OUT)
        case anthropic.APIConnectionError():
            return LLMUnavailable(UNREACHABLE)
        case _:
            return LLMUnavailable(BROKE_OFF)

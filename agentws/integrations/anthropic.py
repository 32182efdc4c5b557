"""Anthropic's Messages API as an :class:`LLM`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final, cast

from ..agents.llm import (
    BROKE_OFF,
    LLM,
    TIMED_OUT,
    UNREACHABLE,
    LLMError,
    LLMUnavailable,
    readable,
    status_error,
)
from ..agents.prompt import EMPTY_MESSAGE, well_formed
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
from .answer import (
    CALLED_ONLY,
    THOUGHT_ONLY,
    Answer,
    Counts,
    Endings,
    error_status,
    member,
    retry_after,
    translated_errors,
)
from .tool_names import ToolIds, tool_arguments, tool_name

try:
    import anthropic
    from anthropic.types import RawMessageStreamEvent
except ImportError as missing:
    raise ImportError(
        'AnthropicMessages needs the Anthropic SDK: pip install "agentws[anthropic]"'
    ) from missing

__all__ = ["AnthropicMessages"]

ENDINGS: Final = Endings(
    whole=frozenset({"end_turn", "stop_sequence", "tool_use"}),
    at_limit=frozenset({"max_tokens", "model_context_window_exceeded"}),
    refused=frozenset({"refusal"}),
)

Block = dict[str, Any]


class AnthropicMessages(LLM):
    """A model behind Anthropic's Messages API.

    ``max_tokens`` limits one answer. ``client`` is used unchanged and must be closed by the caller.
    Otherwise one is created with ``base_url`` and ``api_key`` (absent: where the SDK looks for
    them), ``timeout`` (seconds without data from the provider) and ``max_retries`` (of a request
    without an answer yet). ``parameters`` are added to the body of every request, for example
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
        answer, counts = Answer(ENDINGS), Counts()
        with translated_errors(answer, _llm_error):
            # Not the SDK's own message accumulation, which fails on an invalid event.
            async with await self._begin(request) as events:
                async for event in events:
                    if text := _read(event, answer, counts):
                        yield text
                    if answer.error is not None:
                        break
        if rest := answer.flush():
            yield rest
        if counts:
            yield _usage(counts, self.model)
        answer.require_whole()

    async def _begin(self, request: dict[str, Any]) -> anthropic.AsyncStream[RawMessageStreamEvent]:
        return cast(
            "anthropic.AsyncStream[RawMessageStreamEvent]",
            await self._client.messages.create(stream=True, **request),
        )

    def _request(self, messages: Sequence[Message], instructions: str | None) -> dict[str, Any]:
        system = [instructions] if instructions else []
        system += [m.content for m in messages if isinstance(m, SystemMessage | DeveloperMessage)]
        system = [text for text in system if text.strip()]
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


_NAMES: Final = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
)
_GIVEN: Final = _NAMES[:3]
"""Anthropic does not include cached tokens in ``input_tokens``; other providers do."""


def _read(event: object, answer: Answer, counts: Counts) -> str:
    """The text that ``event`` adds to ``answer``."""
    match member(event, "type"):
        case "content_block_delta":
            return _said(member(event, "delta"), answer)
        case "content_block_start":
            return _said(member(event, "content_block"), answer)
        case "message_start":
            message = member(event, "message")
            counts.add(member(message, "usage"), _NAMES)
            answer.note_reason(member(message, "stop_reason"))
        case "message_delta":
            counts.add(member(event, "usage"), _NAMES)
            answer.note_reason(member(member(event, "delta"), "stop_reason"))
        case "error":
            answer.note_error(error_status(event) or 500)
    return ""


def _said(part: object, answer: Answer) -> str:
    """The text in a content block, or in a delta of one."""
    match member(part, "type"):
        case None | "text" | "text_delta":
            return answer.add_text(member(part, "text"))
        case "thinking" | "thinking_delta" | "redacted_thinking":
            answer.empty_message = THOUGHT_ONLY
        case "tool_use" | "server_tool_use":
            answer.empty_message = CALLED_ONLY
    return ""


def _conversation(messages: Sequence[Message]) -> list[Block]:
    """The messages as the API requires them.

    The first and the last are the user's, the roles alternate, and all results of one step are in
    one message.
    """
    fit = well_formed(messages)
    ids = ToolIds(fit)
    entries: list[Block] = []
    for role, blocks in (_blocks(message, ids) for message in fit):
        if not blocks:
            continue
        if not entries and role == "assistant":
            entries.append({"role": "user", "content": [_text("[The conversation begins.]")]})
        if entries and entries[-1]["role"] == role:
            entries[-1]["content"] += blocks
        else:
            entries.append({"role": role, "content": blocks})
    if not entries or entries[-1]["role"] == "assistant":
        entries.append({"role": "user", "content": [_text("[Please go on.]")]})
    return entries


def _blocks(message: Message, ids: ToolIds) -> tuple[str, list[Block]]:
    match message:
        case UserMessage(content=content):
            text = readable(content)
            return "user", [_text(text if text.strip() else EMPTY_MESSAGE)]
        case AssistantMessage(content=content, tool_calls=calls):
            said = [_text(content)] if content and content.strip() else []
            return "assistant", said + [_tool_use(call, ids) for call in calls or ()]
        case ToolMessage():
            return "user", [_tool_result(message, ids)]
        case _:
            return "", []


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _tool_use(call: ToolCall, ids: ToolIds) -> Block:
    return {
        "type": "tool_use",
        "id": ids.of_call(call.id),
        "name": tool_name(call.function.name),
        "input": tool_arguments(call.function.arguments) or {},
    }


def _tool_result(message: ToolMessage, ids: ToolIds) -> Block:
    said = readable(message.content) or message.error
    failed = message.error is not None
    return {
        "type": "tool_result",
        "tool_use_id": ids.of_result(message.tool_call_id),
        # The API refuses an error without text.
        "content": said or ("The tool failed." if failed else ""),
        "is_error": failed,
    }


def _usage(counts: Counts, model: str) -> TokenUsage:
    return TokenUsage(
        provider="anthropic",
        model=model,
        input_tokens=counts.total(*_GIVEN),
        output_tokens=counts.get("output_tokens"),
        total_tokens=counts.total(*_NAMES),
        cached_input_tokens=counts.get("cache_read_input_tokens"),
        cache_write_input_tokens=counts.get("cache_creation_input_tokens"),
    )


def _llm_error(error: Exception, status: int) -> LLMError:
    """The error for an exception of the SDK or its transport; ``status`` is 0 when it has none."""
    match error:
        case anthropic.APITimeoutError():
            return LLMUnavailable(TIMED_OUT)
        case anthropic.APIConnectionError():
            return LLMUnavailable(UNREACHABLE)
        case anthropic.APIStatusError():
            return status_error(status or 500, retry_after=retry_after(error))
        case _ if status:
            return status_error(status, retry_after=retry_after(error))
        case _:
            return LLMUnavailable(BROKE_OFF)

"""Anthropic's Messages API as an :class:`LLM`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import mktime_tz, parsedate_tz
from typing import Any, Final, cast

from ..agents.llm import (
    BROKE_OFF,
    TIMED_OUT,
    UNREACHABLE,
    LLMError,
    LLMPiece,
    LLMUnavailable,
    status_error,
)
from ..protocol.messages import DeveloperMessage, Message, SystemMessage, TokenUsage, Tool
from ..settings import Count, Seconds, check_setting
from .answer import (
    CALLED_ONLY,
    NOT_SENT,
    THOUGHT_ONLY,
    Counts,
    Endings,
    error_status,
    member,
    retry_after,
)
from .answering import Provider, ProviderLLM
from .anthropic_prompt import REDACTED, SIGNATURE, conversation, tool_entries
from .reading import LONGEST_WAIT, Reading

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


class AnthropicMessages(ProviderLLM):
    """A model behind Anthropic's Messages API.

    ``max_tokens`` limits one answer. ``client`` is used unchanged and must be closed by the caller.
    Otherwise one is created with ``base_url`` and ``api_key`` (absent: where the SDK looks for
    them), ``timeout`` (seconds without data from the provider) and ``max_retries`` (of a request
    without an answer yet; also of one whose response begins and then fails).

    ``parameters`` are added to the body of every request: ``{"top_p": 0.9}``, or
    ``{"thinking": {"type": "enabled", "budget_tokens": 4096}}`` for reasoning. ``media=False`` is
    for models that refuse images and files: each is then named in text.
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
        media: bool = True,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        check_setting("max_tokens", max_tokens, Count)
        check_setting("timeout", timeout, Seconds)
        self.max_tokens = max_tokens
        self._client = client or _Client(
            base_url=base_url, api_key=api_key, timeout=timeout, max_retries=max_retries
        )
        super().__init__(
            _PROVIDER,
            close=self._client.close if client is None else None,
            model=model,
            max_retries=max_retries,
            media=media,
            parameters=parameters,
        )

    async def _request(self, body: dict[str, Any]) -> anthropic.AsyncStream[RawMessageStreamEvent]:
        # Not the SDK's own message accumulation, which fails on an invalid event.
        return cast(
            "anthropic.AsyncStream[RawMessageStreamEvent]",
            await self._client.messages.create(stream=True, **body),
        )

    def _body(
        self, messages: Sequence[Message], instructions: str | None, tools: Sequence[Tool]
    ) -> dict[str, Any]:
        system = [instructions] if instructions else []
        system += [m.content for m in messages if isinstance(m, SystemMessage | DeveloperMessage)]
        system = [text for text in system if text.strip()]
        body = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "messages": conversation(messages, media=self._media),
            "extra_body": self._parameters,
        }
        if tools:
            body["tools"] = tool_entries(tools)
        return body | {"system": "\n\n".join(system)} if system else body


class _Client(anthropic.AsyncAnthropic):
    """The SDK's client, which itself waits as long as a provider says, days if it says so."""

    def _should_retry(self, response: Any) -> bool:
        return _wait(response.headers) <= LONGEST_WAIT and super()._should_retry(response)


def _wait(headers: Mapping[str, str]) -> float:
    """The seconds that a refused request is to wait; 0 if nothing readable is said."""
    said = headers.get("retry-after", "")
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return float(milliseconds) / 1000
        return float(said)
    except ValueError:
        return _until(said)


def _until(date: str) -> float:
    try:
        read = parsedate_tz(date)
        return mktime_tz(read) - time.time() if read else 0.0
    except (ValueError, OverflowError):
        return math.inf  # a day that no calendar has


_NAMES: Final = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
)
_GIVEN: Final = _NAMES[:3]
"""Anthropic does not include cached tokens in ``input_tokens``; other providers do."""


def _read(event: object, reading: Reading) -> Iterator[LLMPiece]:
    """What ``event`` adds to the answer."""
    answer, counts = reading.answer, reading.counts
    match member(event, "type"):
        case "content_block_delta":
            yield from _said(member(event, "delta"), member(event, "index"), reading)
        case "content_block_start":
            yield from _said(member(event, "content_block"), member(event, "index"), reading)
        case "message_start":
            message = member(event, "message")
            counts.add(member(message, "usage"), _NAMES)
            answer.note_reason(member(message, "stop_reason"))
        case "message_delta":
            counts.add(member(event, "usage"), _NAMES)
            answer.note_reason(member(member(event, "delta"), "stop_reason"))
        case "error":
            answer.note_error(error_status(event) or 500)


def _said(part: object, index: object, reading: Reading) -> Iterator[LLMPiece]:
    """What a content block, or a delta of one, says."""
    answer = reading.answer
    match member(part, "type"):
        case None | "text" | "text_delta":
            if text := answer.add_text(member(part, "text")):
                yield text
        case "thinking" | "thinking_delta" | "signature_delta":
            answer.empty_message = THOUGHT_ONLY
            yield from reading.add_reasoning(index, member(part, "thinking"))
            yield from reading.seal_reasoning(index, SIGNATURE, member(part, "signature"))
        case "redacted_thinking":
            answer.empty_message = THOUGHT_ONLY
            yield from reading.seal_reasoning(index, REDACTED, member(part, "data"))
        case "tool_use":
            answer.empty_message = CALLED_ONLY
            yield from reading.add_call(
                index=index,
                id=member(part, "id"),
                name=member(part, "name"),
                arguments="",
                # Empty, when the arguments follow; some servers send all of them here.
                whole=member(part, "input"),
            )
        case "input_json_delta":
            piece = member(part, "partial_json")
            yield from reading.add_call(index=index, id=None, name=None, arguments=piece)
        case "server_tool_use":
            answer.empty_message = CALLED_ONLY


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


def _llm_error(error: Exception, status: int, begun: bool) -> LLMError:
    match error:
        case anthropic.APITimeoutError():
            return LLMUnavailable(TIMED_OUT)
        case anthropic.APIConnectionError() if not begun:
            return LLMUnavailable(UNREACHABLE)
        case anthropic.APIStatusError():
            return status_error(status or 500, retry_after=retry_after(error))
        case _ if status:
            return status_error(status, retry_after=retry_after(error))
        case anthropic.AnthropicError() if not begun:
            return LLMError(NOT_SENT)
        case _:
            return LLMUnavailable(BROKE_OFF if begun else UNREACHABLE)


_PROVIDER: Final = Provider(ENDINGS, _read, _llm_error, _usage)

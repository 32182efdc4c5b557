"""OpenAI's chat completions, and every compatible server, as an :class:`LLM`."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
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
from ..protocol.messages import Message, TokenUsage, Tool
from ..settings import Seconds, check_setting
from .answer import (
    CALLED_ONLY,
    NOT_SENT,
    THOUGHT_ONLY,
    Answer,
    Counts,
    Endings,
    entries,
    error_status,
    member,
    retry_after,
)
from .answering import Provider, ProviderLLM
from .openai_prompt import EXTRA, conversation, tool_entries
from .reading import Reading
from .tool_names import as_json

try:
    import openai
    from openai.types.chat import ChatCompletionChunk
except ImportError as missing:
    raise ImportError('OpenAIChat needs the OpenAI SDK: pip install "agentws[openai]"') from missing

__all__ = ["OpenAIChat"]

ENDINGS: Final = Endings(
    # OpenAI's own, and those of servers that pass on their engine's.
    whole=frozenset(
        {"stop", "tool_calls", "function_call"}
        | {"end_turn", "tool_use", "eos", "eos_token", "stop_sequence"}
    ),
    at_limit=frozenset({"length", "max_tokens", "model_length"}),
    refused=frozenset({"content_filter", "refusal"}),
)


class OpenAIChat(ProviderLLM):
    """A chat model of OpenAI, or of any compatible server at ``base_url``.

    ``client`` is used unchanged and must be closed by the caller. Otherwise one is created with
    ``base_url`` and ``api_key`` (absent: where the SDK looks for them), ``timeout`` (seconds
    without data from the provider) and ``max_retries`` (of a request without an answer yet; also of
    one whose response begins and then fails).

    ``parameters`` are added to the body of every request, for example ``{"temperature": 0.2}``.
    ``include_usage=False`` is for servers that don't support ``stream_options``. ``media=False`` is
    for models that refuse images and files: each is then named in text. ``send_reasoning=True``
    sends the model's reasoning back with each of its messages, which some models require once they
    have used tools (DeepSeek and Kimi, when they think).
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
        media: bool = True,
        send_reasoning: bool = False,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        check_setting("timeout", timeout, Seconds)
        self._client = client or openai.AsyncOpenAI(
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
        self._send_reasoning = send_reasoning
        if include_usage:
            self._parameters.setdefault("stream_options", {"include_usage": True})

    def _body(
        self, messages: Sequence[Message], instructions: str | None, tools: Sequence[Tool]
    ) -> dict[str, Any]:
        shown = conversation(
            messages, instructions, media=self._media, reasoning=self._send_reasoning
        )
        body = {"model": self.model, "messages": shown, "extra_body": self._parameters}
        return body | {"tools": tool_entries(tools)} if tools else body

    async def _request(self, body: dict[str, Any]) -> openai.AsyncStream[ChatCompletionChunk]:
        response: Any = await self._client.chat.completions.create(stream=True, **body)
        decoder = getattr(response, "_decoder", None)
        if hasattr(decoder, "aiter_bytes"):
            response._decoder = _Decoder(decoder)
        return cast("openai.AsyncStream[ChatCompletionChunk]", response)


class _Decoder:
    """A decoder of the SDK that reads what every reader of server-sent events must.

    The SDK itself drops the first event after a byte order mark, so that the rest would seem whole,
    and fails at broken UTF-8 and at an event without data: a ping, or a time to reconnect.
    """

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    async def aiter_bytes(self, body: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for event in self._decoder.aiter_bytes(_valid(body)):
            if event.data:
                yield event


async def _valid(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """``body`` as UTF-8, without a byte order mark; what is broken is replaced."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
    async for piece in body:
        yield decoder.decode(piece).encode()


def _read(chunk: object, reading: Reading) -> Iterator[LLMPiece]:
    """What ``chunk`` adds to the answer."""
    answer = reading.answer
    if usage := member(chunk, "usage"):
        _count(reading.counts, usage)
    choices = entries(member(chunk, "choices"))
    if not choices:
        answer.note_error(error_status(chunk))
    for choice in choices:
        delta = member(choice, "delta")
        if delta is not None:
            yield from _read_delta(delta, reading)
        reason = member(choice, "finish_reason")
        if reason and not answer.note_reason(reason):
            # Some proxies report the error next to the reason.
            answer.note_error(error_status(member(choice, "error")))


def _read_delta(delta: object, reading: Reading) -> Iterator[LLMPiece]:
    answer, content = reading.answer, member(delta, "content")
    if type(content) is str:
        text = answer.add_text(content)
    else:
        text = "".join(_read_part(part, answer) for part in entries(content) or (content,))
    if refusal := member(delta, "refusal"):
        text += answer.add_refusal(refusal)
    if not answer.has_text:
        _note_why_empty(delta, answer)
    yield from reading.add_reasoning(0, _reasoning(delta, content))
    if text:
        yield text
    for call in entries(member(delta, "tool_calls")):
        yield from _read_call(call, reading)


def _read_part(part: object, answer: Answer) -> str:
    """The text of a content part; empty for a part of an unknown type."""
    if isinstance(part, str):
        return answer.add_text(part)
    match member(part, "type"):
        case None | "text" | "output_text":
            return answer.add_text(member(part, "text"))
        case "refusal":
            return answer.add_refusal(member(part, "refusal"))
        case "thinking" | "reasoning":
            answer.empty_message = THOUGHT_ONLY
    return ""


_REASONING: Final = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
"""The members for reasoning, of which a server sends one, or the same text in two."""


def _reasoning(delta: object, content: object) -> str:
    """The reasoning in ``delta``: in a member of its own, or in parts of its content."""
    for name in _REASONING:
        value = member(delta, name)
        if isinstance(value, str) and value:
            return value
    parts = entries(content) or (content,)
    return "".join(_thought(part) for part in parts if member(part, "type") == "thinking")


def _thought(part: object) -> str:
    said = member(part, "thinking")
    texts = [said] if isinstance(said, str) else [member(one, "text") for one in entries(said)]
    return "".join(text for text in texts if isinstance(text, str))


def _read_call(call: object, reading: Reading) -> Iterator[LLMPiece]:
    index, id, function = member(call, "index"), member(call, "id"), member(call, "function")
    yield from reading.add_call(
        index=index,
        id=id,
        name=member(function, "name"),
        arguments=member(function, "arguments"),
    )
    extra = member(call, "extra_content")
    if isinstance(extra, dict):
        yield from reading.seal_call(index, id, EXTRA + as_json(extra))


def _note_why_empty(delta: object, answer: Answer) -> None:
    if any(member(delta, name) for name in _REASONING):
        answer.empty_message = THOUGHT_ONLY
    elif member(delta, "tool_calls") or member(delta, "function_call"):
        answer.empty_message = CALLED_ONLY


def _count(counts: Counts, usage: object) -> None:
    for one in entries(usage) or (usage,):
        counts.add(one, ("prompt_tokens", "completion_tokens", "total_tokens"))
        counts.add(member(one, "completion_tokens_details"), ("reasoning_tokens",))
        counts.add(member(one, "prompt_tokens_details"), ("cached_tokens",))


def _usage(counts: Counts, model: str) -> TokenUsage:
    total = counts.get("total_tokens")
    return TokenUsage(
        provider="openai",
        model=model,
        input_tokens=counts.get("prompt_tokens"),
        output_tokens=counts.get("completion_tokens"),
        total_tokens=counts.total("prompt_tokens", "completion_tokens") if total is None else total,
        reasoning_tokens=counts.get("reasoning_tokens"),
        cached_input_tokens=counts.get("cached_tokens"),
    )


def _llm_error(error: Exception, status: int, begun: bool) -> LLMError:
    match error:
        case openai.APITimeoutError():
            return LLMUnavailable(TIMED_OUT)
        case openai.APIConnectionError() if not begun:
            return LLMUnavailable(UNREACHABLE)
        case _ if status:
            return status_error(status, retry_after=retry_after(error))
        case openai.OpenAIError() if not begun:
            return LLMError(NOT_SENT)
        case _:
            return LLMUnavailable(BROKE_OFF if begun else UNREACHABLE)


_PROVIDER: Final = Provider(ENDINGS, _read, _llm_error, _usage)

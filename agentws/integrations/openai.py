"""OpenAI's chat completions, and every compatible server, as an :class:`LLM`."""

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
    ToolMessage,
    UserMessage,
)
from .answer import (
    CALLED_ONLY,
    THOUGHT_ONLY,
    Answer,
    Counts,
    Endings,
    entries,
    error_status,
    member,
    retry_after,
    translated_errors,
)
from .tool_names import ToolIds, tool_arguments, tool_name

try:
    import openai
    from openai.types.chat import ChatCompletionChunk
except ImportError as missing:
    raise ImportError('OpenAIChat needs the OpenAI SDK: pip install "agentws[openai]"') from missing

__all__ = ["OpenAIChat"]

ENDINGS: Final = Endings(
    # OpenAI's own, and those of servers that pass on their engine's.
    whole=frozenset(
        {"stop", "tool_calls", "function_call", "end_turn", "eos", "eos_token", "stop_sequence"}
    ),
    at_limit=frozenset({"length", "max_tokens", "model_length"}),
    refused=frozenset({"content_filter", "refusal"}),
)


class OpenAIChat(LLM):
    """A chat model of OpenAI, or of any compatible server at ``base_url``.

    ``client`` is used unchanged and must be closed by the caller. Otherwise one is created with
    ``base_url`` and ``api_key`` (absent: where the SDK looks for them), ``timeout`` (seconds
    without data from the provider) and ``max_retries`` (of a request without an answer yet).
    ``parameters`` are added to the body of every request, for example ``{"temperature": 0.2}``.
    ``include_usage=False`` is for servers that don't support ``stream_options``.
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
        answer, counts = Answer(ENDINGS), Counts()
        with translated_errors(answer, _llm_error):
            chunks = await self._request(conversation)
            async with chunks:
                async for chunk in chunks:
                    if usage := member(chunk, "usage"):
                        _count(counts, usage)
                    if text := _read(chunk, answer):
                        yield text
                    if answer.error is not None:
                        break
        if rest := answer.flush():
            yield rest
        if counts:
            yield _usage(counts, self.model)
        answer.require_whole()

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


def _read(chunk: object, answer: Answer) -> str:
    """The text that ``chunk`` adds to ``answer``."""
    choices = entries(member(chunk, "choices"))
    if not choices:
        answer.note_error(error_status(chunk))
    text = ""
    for choice in choices:
        delta = member(choice, "delta")
        if delta is not None:
            text += _read_delta(delta, answer)
        reason = member(choice, "finish_reason")
        if reason and not answer.note_reason(reason):
            # Some proxies report the error next to the reason.
            answer.note_error(error_status(member(choice, "error")))
    return text


def _read_delta(delta: object, answer: Answer) -> str:
    content = member(delta, "content")
    if type(content) is str:
        text = answer.add_text(content)
    else:
        text = "".join(_read_part(part, answer) for part in entries(content) or (content,))
    if refusal := member(delta, "refusal"):
        text += answer.add_refusal(refusal)
    if not answer.has_text:
        _note_why_empty(delta, answer)
    return text


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


def _note_why_empty(delta: object, answer: Answer) -> None:
    if any(member(delta, name) for name in _REASONING):
        answer.empty_message = THOUGHT_ONLY
    elif member(delta, "tool_calls") or member(delta, "function_call"):
        answer.empty_message = CALLED_ONLY


def _conversation(messages: Sequence[Message], instructions: str | None) -> list[dict[str, Any]]:
    start = [{"role": "system", "content": instructions}] if instructions else []
    fit = well_formed(messages)
    ids = ToolIds(fit)
    return start + [entry for message in fit if (entry := _entry(message, ids))]


def _entry(message: Message, ids: ToolIds) -> dict[str, Any] | None:
    match message:
        case UserMessage(content=content):
            return {"role": "user", "content": readable(content) or EMPTY_MESSAGE}
        case SystemMessage(content=text) | DeveloperMessage(content=text):
            # Compatible servers support only "system"; OpenAI reads it as "developer".
            return {"role": "system", "content": text} if text else None
        case AssistantMessage():
            return _assistant(message, ids)
        case ToolMessage(tool_call_id=call, content=content, error=error):
            text = readable(content) or error or ""
            return {"role": "tool", "tool_call_id": ids.of_result(call), "content": text}
        case _:
            return None


def _assistant(message: AssistantMessage, ids: ToolIds) -> dict[str, Any] | None:
    calls = [
        {
            "id": ids.of_call(call.id),
            "type": "function",
            "function": {
                "name": tool_name(call.function.name),
                "arguments": _arguments(call.function.arguments),
            },
        }
        for call in message.tool_calls or ()
    ]
    if calls:
        return {"role": "assistant", "content": message.content or None, "tool_calls": calls}
    return {"role": "assistant", "content": message.content} if message.content else None


def _arguments(text: str) -> str:
    """The arguments of a call; ``{}`` if they are invalid, which many servers refuse."""
    return text if tool_arguments(text) is not None else "{}"


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


def _llm_error(error: Exception, status: int) -> LLMError:
    """The error for an exception of the SDK or its transport; ``status`` is 0 when it has none."""
    match error:
        case openai.APITimeoutError():
            return LLMUnavailable(TIMED_OUT)
        case openai.APIConnectionError():
            return LLMUnavailable(UNREACHABLE)
        case _ if status:
            return status_error(status, retry_after=retry_after(error))
        case _:
            return LLMUnavailable(BROKE_OFF)

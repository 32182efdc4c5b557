"""The port between an agent and a language model, and its errors.

    LLMError                      llm_error          the request can't be answered
    ├── LLMUnavailable            llm_unavailable    retryable: down, slow, or disconnected
    │   └── LLMRateLimited        llm_rate_limited   retryable: too many requests
    ├── LLMCutOff                 llm_cut_off        the answer is incomplete; the sentence says why
    ├── LLMRefused                llm_refused        the model declined, or a filter stopped it
    ├── LLMEmpty                  llm_empty          retryable: the model ended without any text
    └── LLMRounds                 llm_rounds         the model called tools without ever answering

Their sentences are written for the user of the agent. The provider's own error becomes the
``__cause__``, unless it is about credentials and might quote them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Self

from ..errors import AgentError
from ..protocol.events import ReasoningEncryptedValue, ReasoningMessageChunk, ToolCallChunk
from ..protocol.messages import Content, Message, TextPart, TokenUsage, Tool

LLMPiece = str | ToolCallChunk | ReasoningMessageChunk | ReasoningEncryptedValue | TokenUsage
"""What a model yields: text, a piece of a tool call, a piece of its reasoning, or its usage.

All but text are AG-UI's structs, so there is one vocabulary from the model to the screen. Their ids
need only be unique within one answer: whoever shows an answer gives its parts ids of the session.
"""


class LLM(ABC):
    """Turns a conversation into a streamed answer: text, reasoning and calls of tools.

    One instance serves many conversations at once; it belongs to the event loop that uses it.
    """

    @abstractmethod
    def stream(
        self,
        messages: Sequence[Message],
        *,
        instructions: str | None = None,
        tools: Sequence[Tool] = (),
    ) -> AsyncGenerator[LLMPiece, None]:
        """Asks the model for the next message of the conversation.

        ``messages`` is the conversation in order; the last one is to be answered: a user's, or the
        result of a tool. Every tool call in it is followed by its result, see
        :func:`agentws.agents.prompt.well_formed`. An implementation must use the text of user,
        assistant, system, developer and tool messages; it may skip other roles, and content that is
        not text. ``tools`` are those that the model may call, each name once. An agent without
        tools leaves the argument out, so a model that has no tools need not take it.

        Yields, as they arrive:

        - Text deltas, never empty, without lone surrogates and NUL.
        - For each call a ``ToolCallChunk`` with id and name (one of ``tools``, or whatever else the
          model said), then others with its id and more of its arguments. The arguments of all
          chunks of a call, joined, are JSON; of a call without arguments they may be empty. Chunks
          of several calls may be mixed.
        - ``ReasoningMessageChunk`` for each piece of reasoning, with the id of its block, and
          ``ReasoningEncryptedValue`` (subtype ``message``, the block's id) for what the provider
          must get back. Of a call (subtype ``tool-call``), after its first chunk.
        - At most one ``TokenUsage``, last.

        A normal end means that there is an answer and that it is complete. If the model declines,
        its text is yielded before LLMRefused is raised. A request that failed before anything was
        yielded may be repeated; after the first piece it never is.

        Closing the generator, or cancelling the task that reads it, first closes the request to the
        provider, so that nothing more is generated or paid for.

        Raises:
            LLMError: any failure, before or after the first text.
        """

    async def aclose(self) -> None:
        """Closes the connections that this object opened itself. Safe to call twice."""
        return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class LLMError(AgentError):
    code = "llm_error"
    summary = "The model could not answer."


class LLMUnavailable(LLMError):
    code = "llm_unavailable"
    retryable = True
    summary = "The model is not available right now."


class LLMRateLimited(LLMUnavailable):
    code = "llm_rate_limited"
    summary = "The model is receiving too many requests."


class LLMCutOff(LLMError):
    code = "llm_cut_off"
    summary = "The answer was cut off: it reached the model's length limit."


class LLMRefused(LLMError):
    code = "llm_refused"
    summary = "The model declined to answer."


class LLMEmpty(LLMError):
    code = "llm_empty"
    retryable = True
    summary = "The model gave no answer."


class LLMRounds(LLMError):
    code = "llm_rounds"
    summary = "The model used its tools again and again, and gave no answer."


TIMED_OUT = "The model did not answer in time."
UNREACHABLE = "The model could not be reached."
BROKE_OFF = "The model's answer broke off."

_BY_STATUS: dict[int, tuple[type[LLMError], str | None]] = {
    400: (LLMError, "The model did not accept the request."),
    401: (LLMError, "The model's provider did not accept the credentials it was given."),
    402: (LLMError, "The account with the model's provider has no credit."),
    403: (LLMError, "The model's provider did not allow the request."),
    404: (LLMError, "The model does not exist, or is not available to this account."),
    408: (LLMUnavailable, TIMED_OUT),
    409: (LLMUnavailable, None),
    413: (LLMError, "The conversation is too long for the model."),
    422: (LLMError, "The model did not accept the request."),
    429: (LLMRateLimited, None),
    504: (LLMUnavailable, TIMED_OUT),
}


def status_error(status: int, *, retry_after: str | None = None) -> LLMError:
    """The error for an HTTP ``status`` of a provider.

    ``retry_after`` is the value of the Retry-After header; a date in it is ignored.
    """
    unlisted: tuple[type[LLMError], str | None]
    unlisted = (LLMUnavailable if status >= 500 else LLMError), None
    error, message = _BY_STATUS.get(status, unlisted)
    return error(message, retry_after=_seconds(retry_after))


def speaks_of_credentials(status: int) -> bool:
    """Whether a provider's response with ``status`` may quote a key, and must not be logged."""
    return status in (401, 403)


def _seconds(header: str | None) -> float | None:
    text = (header or "").strip()
    seconds = float(text) if text.replace(".", "", 1).isdecimal() else math.inf
    return seconds if math.isfinite(seconds) else None


def readable(content: Content | None) -> str:
    """``content`` as text, for a model without images and files: each of those is named.

    So the model can say that it can't read an attachment, instead of guessing what is in it.
    """
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(
        part.text if isinstance(part, TextPart) else f"[{part.__struct_config__.tag} attached]"
        for part in content
    )


__all__ = [
    "LLM",
    "LLMCutOff",
    "LLMEmpty",
    "LLMError",
    "LLMRateLimited",
    "LLMRefused",
    "LLMRounds",
    "LLMUnavailable",
    "LLMPiece",
    "readable",
    "speaks_of_credentials",
    "status_error",
]

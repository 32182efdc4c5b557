"""Asks a provider and reads its answer.

The answer is streamed, its errors are those of :mod:`agentws.agents.llm`, and the request is
repeated if it failed before anything of the answer was yielded.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, NamedTuple

from ..agents.llm import LLM, LLMPiece, LLMUnavailable
from ..protocol.messages import Message, TokenUsage, Tool
from .answer import Counts, Endings, LLMErrorOf, error_status, member, translated_errors
from .reading import Reading, Retries
from .tool_names import json_value, our_names

Response = AbstractAsyncContextManager[AsyncIterator[Any]]
"""A streamed response of an SDK; leaving it closes the request."""


class Provider(NamedTuple):
    """How the answers of one provider are read."""

    endings: Endings
    read: Callable[[object, Reading], Iterator[LLMPiece]]
    """What an event of the response adds to the answer."""
    llm_error: LLMErrorOf
    usage: Callable[[Counts, str], TokenUsage]
    """The tokens of an answer of that model."""


class ProviderLLM(LLM):
    """A model that is asked with the SDK of its provider.

    A subclass makes the body of a request and sends it. ``close`` is called by :meth:`aclose`,
    unless the SDK's client is the caller's.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        close: Callable[[], Awaitable[None]] | None,
        model: str,
        max_retries: int,
        media: bool,
        parameters: Mapping[str, Any] | None,
    ) -> None:
        self.model = model
        self._provider = provider
        self._close = close
        self._max_retries = max_retries
        self._media = media
        self._parameters: dict[str, Any] = dict(parameters or {})

    @abstractmethod
    def _body(
        self, messages: Sequence[Message], instructions: str | None, tools: Sequence[Tool]
    ) -> dict[str, Any]:
        """The arguments of the SDK's method."""

    @abstractmethod
    async def _request(self, body: dict[str, Any]) -> Response:
        """Sends the request; returns its response, which is streamed."""

    def stream(
        self,
        messages: Sequence[Message],
        *,
        instructions: str | None = None,
        tools: Sequence[Tool] = (),
    ) -> AsyncGenerator[LLMPiece, None]:
        body = self._body(messages, instructions, tools)
        return answer_of(
            self._provider,
            partial(self._request, body),
            model=self.model,
            tools=tools,
            max_retries=self._max_retries,
        )

    async def aclose(self) -> None:
        if self._close is not None:
            await self._close()


async def _refusal(events: AsyncIterator[Any]) -> int:
    """The HTTP status of an error that some servers send instead of a stream, with the status 200.

    0 for a stream, and for a body that is no error.
    """
    response = member(events, "response")
    headers = member(response, "headers")
    # A stream never says its length; one with a wrong type is still read as it comes.
    if not isinstance(headers, Mapping) or "content-length" not in headers:
        return 0
    if "json" not in headers.get("content-type", ""):
        return 0
    body = json_value((await response.aread()).decode(errors="replace"))
    return error_status(body) or (500 if member(body, "error") else 0)


async def answer_of(
    provider: Provider,
    begin: Callable[[], Awaitable[Response]],
    *,
    model: str,
    tools: Sequence[Tool],
    max_retries: int,
) -> AsyncGenerator[LLMPiece, None]:
    """Yields the answer to the request that ``begin`` sends; see :meth:`LLM.stream`."""
    names, retries = our_names(tools), Retries(max_retries)
    while True:
        reading, error = Reading(provider.endings, names), None
        try:
            with translated_errors(reading.answer, provider.llm_error):
                async with await begin() as events:
                    retries.begun = reading.answer.begun = True
                    reading.answer.note_error(await _refusal(events))
                    async for event in events:
                        for piece in provider.read(event, reading):
                            retries.shown = True
                            yield piece
                        if reading.answer.error is not None:
                            break
        except LLMUnavailable as raised:
            error = raised
        for piece in reading.rest():
            retries.shown = True
            yield piece
        failure = error or reading.answer.failure()
        if not await retries.again(failure):
            break
    if reading.counts:
        yield provider.usage(reading.counts, model)
    if failure is not None:
        raise failure

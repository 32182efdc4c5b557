"""Asks a provider and reads its answer: streamed, with errors in our words, repeated if it failed
before anything of it was yielded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

from ..agents.llm import LLMError, LLMPiece, LLMUnavailable
from ..protocol.messages import TokenUsage, Tool
from .answer import Counts, Endings, translated_errors
from .reading import Reading, Repeats
from .tool_names import our_names

Response = AbstractAsyncContextManager[AsyncIterator[Any]]
"""A streamed response of an SDK; leaving it closes the request."""


class Provider(NamedTuple):
    """How the answers of one provider are read."""

    endings: Endings
    read: Callable[[object, Reading], Iterator[LLMPiece]]
    """What an event of the response adds to the answer."""
    llm_error: Callable[[Exception, int], LLMError]
    """The error for an exception and its HTTP status; 0 without one."""
    usage: Callable[[Counts, str], TokenUsage]
    """The tokens of an answer of that model."""


async def answer_of(
    provider: Provider,
    begin: Callable[[], Awaitable[Response]],
    *,
    model: str,
    tools: Sequence[Tool],
    max_retries: int,
) -> AsyncGenerator[LLMPiece, None]:
    """Yields the answer to the request that ``begin`` sends; see :meth:`LLM.stream`."""
    names, repeats = our_names(tools), Repeats(max_retries)
    while True:
        reading, error = Reading(provider.endings, names), None
        try:
            with translated_errors(reading.answer, provider.llm_error):
                async with await begin() as events:
                    repeats.begun = True
                    async for event in events:
                        for piece in provider.read(event, reading):
                            repeats.shown = True
                            yield piece
                        if reading.answer.error is not None:
                            break
        except LLMUnavailable as raised:
            error = raised
        for piece in reading.rest():
            repeats.shown = True
            yield piece
        failure = error or reading.answer.failure()
        if not await repeats.again(failure):
            break
    if reading.counts:
        yield provider.usage(reading.counts, model)
    if failure is not None:
        raise failure

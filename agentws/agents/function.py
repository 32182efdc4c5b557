"""A function as an agent, whatever way it has to give an async generator."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

from ..errors import AgentError
from .agent import Agent, Output, RunContext

_WRITE: Final = "write `async def agent(ctx)` and give the text with `yield`"


class FunctionAgent(Agent):
    """Calls ``function`` with the context; it gives an async generator, or a coroutine of one."""

    def __init__(self, function: Callable[[RunContext], Any]) -> None:
        self._function = function

    def run(self, ctx: RunContext) -> AsyncIterator[Output]:
        """Raises AgentError, which says what to write, where the function gives something else."""
        given = self._function(ctx)
        if not hasattr(given, "__aiter__") and inspect.isawaitable(given):
            return _awaited(given)
        return _checked(given)


async def _awaited(given: Awaitable[Any]) -> AsyncIterator[Output]:
    output = _checked(await given)
    try:
        async for item in output:
            yield item
    finally:
        await close_unused(output)


def _checked(output: Any) -> AsyncIterator[Output]:
    if hasattr(output, "__aiter__"):
        checked: AsyncIterator[Output] = output
        return checked
    refuse_output(output)
    raise AgentError(f"The agent gave {_kind(output)}, and no async generator: {_WRITE}.")


def refuse_output(output: Any) -> None:
    """Raises AgentError, which says what to write, for an answer that no async generator gave."""
    if isinstance(output, str):
        raise AgentError(f"The agent returned its text: {_WRITE}.")
    if inspect.isgenerator(output):
        output.close()
        raise AgentError(f"The agent is a plain generator: {_WRITE}.")
    if hasattr(output, "__aiter__"):
        raise AgentError(f"The agent's function does not take the context: {_WRITE}.")
    if isinstance(output, Iterator | list | tuple):
        raise AgentError(f"The agent returned {_kind(output)}: {_WRITE}.")


async def close_unused(output: Any) -> None:
    """Closes an async generator; any other async iterator has nothing to close."""
    if hasattr(output, "aclose"):
        await output.aclose()


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"

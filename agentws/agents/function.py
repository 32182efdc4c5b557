"""A function as an agent, in any of the forms that return an async generator."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

from ..errors import AgentError
from .agent import Agent
from .output import Output
from .run_context import RunContext

_EXPECTED: Final = "write `async def agent(ctx)` and give the text with `yield`"


class FunctionAgent(Agent):
    """Calls ``function`` with the context: it returns an async generator, or a coroutine of one."""

    def __init__(self, function: Callable[[RunContext], Any]) -> None:
        self._function = function

    def run(self, ctx: RunContext) -> AsyncIterator[Output]:
        """Raises AgentError, which says what to write, if the function returns anything else."""
        returned = self._function(ctx)
        if not hasattr(returned, "__aiter__") and inspect.isawaitable(returned):
            return _awaited(returned)
        return _checked(returned)


async def _awaited(returned: Awaitable[Any]) -> AsyncIterator[Output]:
    output = _checked(await returned)
    try:
        async for item in output:
            yield item
    finally:
        await close_unused(output)


def _checked(output: Any) -> AsyncIterator[Output]:
    if hasattr(output, "__aiter__"):
        checked: AsyncIterator[Output] = output
        return checked
    check_output(output)
    raise AgentError(f"The agent returned {_described(output)}: {_EXPECTED}.")


def check_output(output: Any) -> None:
    """Raises AgentError, which says what to write, for text, a list or another kind of iterator."""
    if isinstance(output, str):
        raise AgentError(f"The agent returned its text: {_EXPECTED}.")
    if inspect.isgenerator(output):
        output.close()
        raise AgentError(f"The agent is a plain generator: {_EXPECTED}.")
    if hasattr(output, "__aiter__"):
        raise AgentError(f"The agent's function does not take the context: {_EXPECTED}.")
    if isinstance(output, Iterator | list | tuple):
        raise AgentError(f"The agent returned {_described(output)}: {_EXPECTED}.")


async def close_unused(output: Any) -> None:
    """Closes an async generator. Other async iterators have no ``aclose``."""
    if hasattr(output, "aclose"):
        await output.aclose()


def _described(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"

"""The async generator that an agent's ``run`` returns: checked, resumed, and always closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from types import AsyncGeneratorType
from typing import Any, Final

from ..agents.agent import Agent
from ..agents.run_context import RunContext
from ..errors import InvalidEvent
from .failure import consists_of

ITEMS_PER_TURN: Final = 64
"""Items after which an agent that never waits gives way to other tasks."""

logger: Final = logging.getLogger("agentws.run")


def output_of(agent: Agent, context: RunContext) -> Any:
    """What the agent yields for ``context``; raises InvalidEvent if it is no async generator."""
    output: Any = agent.run(context)
    if not hasattr(output, "__aiter__"):
        if hasattr(output, "close"):
            output.close()  # a coroutine
        raise InvalidEvent(
            "The agent's run is not an async generator: write `async def run(self, ctx)` and "
            "give the text with `yield`."
        )
    return output


class ResumedIterator(AsyncIterator[Any]):
    """The items after ``cancelled`` was raised in the generator, at its ``yield``."""

    def __init__(self, items: Any, cancelled: asyncio.CancelledError) -> None:
        self._items = items
        self._cancelled: asyncio.CancelledError | None = cancelled

    def __anext__(self) -> Awaitable[Any]:
        cancelled, self._cancelled = self._cancelled, None
        following: Awaitable[Any]
        if cancelled is None:
            following = self._items.__anext__()
        elif hasattr(self._items, "athrow"):
            following = self._items.athrow(cancelled)
        else:
            raise cancelled  # a plain async iterator has no athrow
        return following


def has_ended(output: Any) -> bool:
    """Whether it is a generator that has nothing left to close."""
    return isinstance(output, AsyncGeneratorType) and output.ag_frame is None


async def close_generator(output: Any) -> None:
    """Closes the agent's generator. An error of that is logged: the run ends all the same."""
    if not hasattr(output, "aclose"):
        return  # a plain async iterator
    try:
        await output.aclose()
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:
        # A task group around a `yield` wraps the GeneratorExit that closes it in a group.
        if not consists_of(error, GeneratorExit):
            logger.exception("an agent's generator did not close")

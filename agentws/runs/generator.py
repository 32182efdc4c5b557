"""Reads on from an agent's async generator after a cancellation, and closes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Final

from .failure import consists_of

logger: Final = logging.getLogger("agentws.run")


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


def close_coroutine(output: Any) -> None:
    if hasattr(output, "close"):
        output.close()

"""Making an agent outside of a run, to ask it what it offers or allows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ..agents.agent import Agent
from ..errors import AgentError, TimedOut
from .failure import comes_from_outside, error_for_user

logger: Final = logging.getLogger("agentws")

T = TypeVar("T")


async def consult(
    making: Awaitable[Agent], question: Callable[[Agent], T], *, about: str, within: float
) -> T:
    """The answer to ``question`` by the agent that ``making`` returns.

    Raises TimedOut after ``within`` seconds, and otherwise the error that a run would end with: the
    agent's own sentence, or a plain AgentError. ``about`` completes "asked for".
    """
    task = asyncio.current_task()
    try:
        async with asyncio.timeout(within) as deadline:
            return question(await making)
    except BaseException as error:
        if comes_from_outside(error, task):
            raise
        if (known := error_for_user(error)) is not None:
            raise known from known.__cause__
        if deadline.expired():
            message = f"The agent could not be asked for {about} in time."
            raise TimedOut(message) from error
        logger.error("an agent could not be asked for %s", about, exc_info=error)
        raise AgentError() from error

"""What an agent declares besides how it runs: it has to be made to be asked for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, get_args

from ..agents.agent import Agent
from ..errors import AgentError, NotSupported, TimedOut
from ..protocol.events import Overlap
from .failure import error_for_user, is_cancelled

logger: Final = logging.getLogger("agentws")

T = TypeVar("T")

_OVERLAPS: Final = get_args(Overlap)


async def declared(
    making: Awaitable[Agent], read: Callable[[Agent], T], *, within: float, what: str
) -> T:
    """What ``read`` returns for the agent that ``making`` returns; ``what`` names it.

    Raises TimedOut after ``within`` seconds, and otherwise the error that a run would end with: the
    agent's own sentence, or a plain AgentError.
    """
    try:
        async with asyncio.timeout(within) as deadline:
            return read(await making)
    except GeneratorExit:
        raise
    except BaseException as error:
        if is_cancelled(error, asyncio.current_task()):
            raise
        if (known := error_for_user(error)) is not None:
            raise known from known.__cause__
        if deadline.expired():
            message = f"The agent could not be asked for its {what} in time."
            raise TimedOut(message) from error
        logger.error("an agent could not be asked for its %s", what, exc_info=error)
        raise AgentError() from error


async def check_overlap(making: Awaitable[Agent], overlap: Overlap, *, within: float) -> None:
    """Raises NotSupported unless the agent allows the overlap, and what :func:`declared` raises."""
    allowed = await declared(making, _overlaps, within=within, what="overlaps")
    if overlap not in allowed:
        raise NotSupported(
            f"This agent does not allow the overlap {overlap!r}.", expected=" or ".join(allowed)
        )


def _overlaps(agent: Agent) -> list[Overlap]:
    """The overlaps that the agent allows: ``queue`` always. Raises TypeError for anything else."""
    named = agent.overlaps
    if isinstance(named, str) or not all(one in _OVERLAPS for one in named):
        raise TypeError(
            f"{type(agent).__name__}.overlaps is {named!r}; expected a set of "
            f"{', '.join(map(repr, _OVERLAPS))}"
        )
    return [one for one in _OVERLAPS if one == "queue" or one in named]

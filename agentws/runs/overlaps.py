"""Which overlaps an agent allows. It has to be made to be asked for them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, get_args

from ..agents.agent import Agent
from ..errors import NotSupported
from ..protocol.events import Overlap
from .consulting import consult

_OVERLAPS: Final = get_args(Overlap)


async def check_overlap(making: Awaitable[Agent], overlap: Overlap, *, within: float) -> None:
    """Raises NotSupported unless the agent allows the overlap, and what :func:`consult` raises."""
    allowed = await consult(making, _overlaps, about="its overlaps", within=within)
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

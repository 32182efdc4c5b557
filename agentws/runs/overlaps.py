"""Which overlaps an agent allows. It has to be made to be asked for them."""

from __future__ import annotations

from collections.abc import Awaitable

from ..agents.agent import Agent
from ..agents.overlaps import overlaps_of
from ..errors import NotSupported
from ..protocol.events import Overlap
from .consulting import consult


async def check_overlap(making: Awaitable[Agent], overlap: Overlap, *, within: float) -> None:
    """Raises NotSupported unless the agent allows the overlap, and what :func:`consult` raises."""
    allowed = await consult(making, overlaps_of, about="its overlaps", within=within)
    if overlap not in allowed:
        raise NotSupported(
            f"This agent does not allow the overlap {overlap!r}.", expected=" or ".join(allowed)
        )

"""Which overlaps an agent allows: what becomes of a message that comes during its run."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any, Final, get_args

from ..protocol.events import Overlap
from .agent import Agent
from .callables import ASYNC_GENERATOR, kind_of

_OVERLAPS: Final = get_args(Overlap)


def overlaps_of(agent: Agent | type[Agent]) -> list[Overlap]:
    """The overlaps that the agent allows: ``queue`` always. Raises TypeError for anything else."""
    named = agent.overlaps
    if isinstance(named, str) or not all(one in _OVERLAPS for one in named):
        kind = agent if isinstance(agent, type) else type(agent)
        raise TypeError(
            f"{kind.__name__}.overlaps is {named!r}; expected a set of "
            f"{', '.join(map(repr, _OVERLAPS))}"
        )
    return [one for one in _OVERLAPS if one == "queue" or one in named]


def declared_overlaps(factory: Any) -> list[Overlap] | None:
    """What every agent of ``factory`` allows; ``None`` where only a made agent can tell."""
    if isinstance(factory, type) and issubclass(factory, Agent):
        if not isinstance(inspect.getattr_static(factory, "overlaps"), Collection):
            return None
        try:
            return overlaps_of(factory)
        except TypeError:
            return None
    return overlaps_of(Agent) if kind_of(factory) is ASYNC_GENERATOR else None

"""A script for slow answers."""

from __future__ import annotations

from agentws.testing.agents import Sleep, Step


def words(count: int, pause: float = 0.05) -> list[Step]:
    """The steps of a script that yields ``0``, ``1`` and so on, with a pause after each."""
    return [step for number in range(count) for step in (f"{number} ", Sleep(pause))]

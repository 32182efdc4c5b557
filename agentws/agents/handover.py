"""A handover: within one run, another agent goes on."""

from __future__ import annotations

from typing import NamedTuple


class Handover(NamedTuple):
    """Which agent goes on with a run, and why."""

    by: str
    """The agent that gave the conversation away."""
    to: str
    reason: str | None
    """A sentence for the next agent and for the user, if there is one."""
    lasting: bool
    """Whether later messages go to that agent, too; a router chooses for one message."""

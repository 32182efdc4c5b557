"""The port between what an agent is given and the run that it belongs to.

The methods of a context write events besides those that the agent yields. All go through one run,
in the order in which they are written, and are checked in the same way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from ..protocol.events import AgentEvent
from ..protocol.messages import UserMessage
from .steps import Steps

Output = str | AgentEvent
"""What an agent may yield: text, or any AG-UI event (see :mod:`agentws.protocol.sequence`)."""


class SteeringMessages(Protocol):
    """The messages that users send to the active run, with overlap ``steer``."""

    async def take(self, most: int | None = None) -> list[UserMessage]:
        """The next messages, oldest first; they are delivered when this returns."""

    def messages(self) -> AsyncIterator[UserMessage]:
        """Yields each as it comes, until the run ends; it is delivered when it is yielded."""


class RunOutput(Protocol):
    """What a context needs of its run. Safe to use from any task of the agent."""

    def write(self, item: Output) -> None:
        """Writes text or an event, as if the agent had yielded it here; never a terminal event.

        Returns before it is in the store. Raises InvalidEvent for an event that is not valid or not
        legal now, and after the end of the run; raises EventTooLarge and TooLarge.
        """

    async def wait_for_room(self) -> None:
        """Returns when more may be written (backpressure). Raises what made an append fail."""

    @property
    def steps(self) -> Steps:
        """What the agent calls and asks."""

    @property
    def largest_result(self) -> int:
        """The most bytes of a tool's result."""

    def record(self, event: AgentEvent) -> bool:
        """:meth:`write` for an event of a step: also while an agent repeats what is known.

        False when it was not written, since the run is being stopped.
        """

    @property
    def steering(self) -> SteeringMessages:
        """The steering messages of the run."""

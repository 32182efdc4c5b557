"""The port between what an agent is given and the run that it belongs to.

The methods of a context write events besides those that the agent yields. All go through one run,
in the order in which they are written, and are checked in the same way.
"""

from __future__ import annotations

from typing import Protocol

from ..protocol.events import AgentEvent
from .steps import Steps

Output = str | AgentEvent
"""What an agent may yield: text, or any AG-UI event (see :mod:`agentws.protocol.sequence`)."""


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

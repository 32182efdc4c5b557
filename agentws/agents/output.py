"""The port between what an agent is given and the run that it belongs to.

The methods of a context write events besides those that the agent yields. All go through one run,
in the order in which they are written, and are checked in the same way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from ..protocol.events import AgentEvent, JsonPatch
from ..protocol.messages import Content, Message, UserMessage
from .sharing import SharedState
from .steps import Steps, Work

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

    def write_text(self, message_id: str, delta: str) -> None:
        """Writes the next piece of a text message that an event has opened.

        Pieces of one message are written together (coalescing). Raises as :meth:`write` does.
        """

    async def wait_for_room(self) -> None:
        """Returns when more may be written (backpressure). Raises what made an append fail."""

    def hand_over(self, name: str, *, reason: str | None, lasting: bool) -> None:
        """Lets the agent ``name`` go on with this run, as soon as this one has returned.

        What this agent still yields or writes is dropped: it is closed at its next ``yield``.
        ``lasting``: later messages go to that agent, too. Raises BadRequest and TooManyAgents.
        """

    async def delegate(
        self,
        name: str,
        content: Content,
        *,
        history: Sequence[Message],
        within: float | None,
        work: tuple[Work, ...],
    ) -> Any:
        """Runs the agent ``name`` inside this run; returns its result.

        ``work``: the calls that this call is made in, which wait for the answers it waits for.
        Raises BadRequest, DelegateFailed and TooManyAgents.
        """

    @property
    def subagent(self) -> str | None:
        """The id of the delegate that writes here; ``None`` for the run's own agent."""

    @property
    def steering(self) -> SteeringMessages:
        """The steering messages of the run."""

    @property
    def shared(self) -> SharedState:
        """The shared state as the run sees it."""

    def patch_state(self, patch: JsonPatch) -> None:
        """Writes a change of the shared state. Raises BadRequest for one that does not apply."""

    @property
    def steps(self) -> Steps:
        """What the agent calls and asks."""

    @property
    def largest_result(self) -> int:
        """The most bytes of a tool's result, or of another value that can't be cut."""

    def record(self, event: AgentEvent) -> bool:
        """:meth:`write` for an event of a step: also while an agent repeats what is known.

        False when it was not written, since the run is being stopped.
        """

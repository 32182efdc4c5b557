"""The gateway's own events: what a gateway needs and AG-UI does not have.

Their types are lower-case, and in the past tense. Import them from :mod:`agentws.protocol.events`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from .event_base import Event, JsonPatch
from .messages import UserMessage, told_in

Overlap = Literal["queue", "steer", "interrupt", "reject"]
SteeringOutcome = Literal["delivered", "undelivered"]
Level = Literal["info", "warning", "error"]


class Attempt(msgspec.Struct, frozen=True, rename="camel"):
    """Which attempt at an answer a run is, after the node of an earlier one was lost."""

    number: int
    """2 for the second attempt; the first one is not named."""
    first: str
    """The id of the first attempt's run."""
    after: str
    """The id of the run that was lost before this attempt."""
    start: int
    """The seq of the first attempt's ``RUN_STARTED``."""
    began: int
    """When that began, in milliseconds since the epoch."""


def next_attempt(event: Event) -> int | None:
    """The number of the attempt that follows a lost run, by its ``RUN_ERROR``; ``None`` if none."""
    number = told_in(event.metadata).get("nextAttempt")
    return number if type(number) is int else None


class MessageAccepted(Event, tag="message.accepted", frozen=True):
    """A user message was appended to the log. A run answers it, now or from the queue."""

    message: UserMessage
    overlap: Overlap
    agent: str | None = None
    by: str | None = None
    """The id of the identity that sent it; absent when it is anonymous."""
    attempt: Attempt | None = None
    """Present when it is answered again, since the node of its run was lost."""


class MessageWithdrawn(Event, tag="message.withdrawn", frozen=True):
    """A queued message was withdrawn by a user, or dropped by policy."""

    message_id: str
    reason: str


class MessageSteered(Event, tag="message.steered", frozen=True):
    """Whether a message with overlap ``steer`` reached the active run; if not, it is queued."""

    message_id: str
    outcome: SteeringOutcome
    reason: str | None = None
    """Why it was not delivered."""


class MessageEdited(Event, tag="message.edited", frozen=True):
    """A queued message was replaced by ``message``, which has its id; it keeps its place."""

    message: UserMessage
    by: str | None = None


class MessagePromoted(Event, tag="message.promoted", frozen=True):
    """A queued message was moved to the front of the queue."""

    message_id: str
    by: str | None = None


class RunCancelling(Event, tag="run.cancelling", frozen=True):
    """A cancel was requested; the run's terminal event follows."""

    by: str | None = None


class InterruptAnswered(Event, tag="interrupt.answered", frozen=True):
    """An interrupt was answered. Only the first answer is appended."""

    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: Any = None
    by: str | None = None


class StateChanged(Event, tag="state.changed", frozen=True):
    """A client changed the shared state. The patch applied where it stands in the log."""

    patch: JsonPatch
    by: str | None = None


class NoticePosted(Event, tag="notice.posted", frozen=True):
    """A notice from the server that is kept in the log."""

    content: str
    level: Level


CLEARED: Final = "history.cleared"
"""The event that removes everything before it from view."""
BRANCHED: Final = "history.branched"
"""The event that says what is out of view. A reader that leaves that out must not apply it."""


class HistoryCleared(Event, tag=CLEARED, frozen=True):
    """The history was cleared: earlier messages are not shown, or given to the model, any more."""


class HistoryBranched(Event, tag=BRANCHED, frozen=True):
    """From a user message on, the conversation is out of view, and goes on in another branch."""

    replaced: str
    """The id of the user message from which on the conversation is out of view."""
    message_id: str
    """The id of the user message that the branch in view begins with."""
    left: str
    """The id of the branch that went out of view."""
    branch: str
    """The id of the branch that is in view now."""
    branches: list[str]
    """The ids of all branches at this place, in the order in which they began."""
    hidden: tuple[int, int]
    """What went out of view: the first and the last seq. Parts of it may have been before."""
    interrupts: list[str] = []
    """The questions that are not open any more, since they were asked in what went out of view."""
    reload: bool = False
    """Whether a client must load the conversation again: what is in view is not only cut."""


Retention = Annotated[float, msgspec.Meta(gt=0)]
"""Seconds for which a session is kept after its last use."""


class SessionUpdated(Event, tag="session.updated", frozen=True):
    title: str | None = None
    agent: str | None = None
    retention: Retention | msgspec.UnsetType | None = msgspec.UNSET
    """``None`` removes the session's own: the gateway's applies again."""


class AgentChosen(Event, tag="agent.chosen", frozen=True):
    """Another agent goes on with the active run: a router chose it, or it was handed over to."""

    agent: str
    reason: str | None = None


GatewayEvent = (
    MessageAccepted
    | MessageWithdrawn
    | MessageSteered
    | MessageEdited
    | MessagePromoted
    | RunCancelling
    | InterruptAnswered
    | StateChanged
    | NoticePosted
    | HistoryCleared
    | HistoryBranched
    | SessionUpdated
    | AgentChosen
)

"""The events of a log: AG-UI 1.0's 31, and the gateway's own.

An AG-UI event has an upper-case ``type`` and belongs to a run; a gateway event has a lower-case
one in the past tense. A ``delta`` of text is declared last, so that two encoded deltas of one
message differ only at their end: :mod:`agentws.protocol.merge` relies on it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from .messages import (
    Content,
    Interrupt,
    Message,
    Metadata,
    RunAgentInput,
    RunOutcome,
    SubagentOutcome,
    TokenUsage,
    UserMessage,
    Wire,
)

AGUI_VERSION: Final = "1.0"

Role = Literal["developer", "system", "assistant", "user"]
JsonPatch = list[dict[str, Any]]
"""RFC 6902 operations."""


class Event(Wire, tag_field="type", kw_only=True, frozen=True):
    """The base of all events. ``timestamp`` is in milliseconds since the epoch."""

    timestamp: int | None = None
    metadata: Metadata | None = None


class AgentEvent(Event, kw_only=True, frozen=True):
    """An AG-UI event: what an agent may yield."""

    raw_event: Any = None


class Attributed(AgentEvent, kw_only=True, frozen=True):
    """An event that may belong to a subagent's part of the run."""

    subagent_run_id: str | None = None


# Text


class TextMessageStart(Attributed, tag="TEXT_MESSAGE_START", frozen=True):
    message_id: str
    role: Role | None = None
    name: str | None = None


class TextMessageContent(Attributed, tag="TEXT_MESSAGE_CONTENT", kw_only=True, frozen=True):
    message_id: str
    delta: str


class TextMessageEnd(Attributed, tag="TEXT_MESSAGE_END", frozen=True):
    message_id: str


class TextMessageChunk(Attributed, tag="TEXT_MESSAGE_CHUNK", frozen=True):
    message_id: str | None = None
    role: Role | None = None
    name: str | None = None
    delta: str | None = None


# Tools


class ToolCallStart(Attributed, tag="TOOL_CALL_START", frozen=True):
    tool_call_id: str
    tool_call_name: str
    parent_message_id: str | None = None


class ToolCallArgs(Attributed, tag="TOOL_CALL_ARGS", kw_only=True, frozen=True):
    tool_call_id: str
    delta: str


class ToolCallEnd(Attributed, tag="TOOL_CALL_END", frozen=True):
    tool_call_id: str


class ToolCallChunk(Attributed, tag="TOOL_CALL_CHUNK", frozen=True):
    tool_call_id: str | None = None
    tool_call_name: str | None = None
    parent_message_id: str | None = None
    delta: str | None = None


class ToolCallResult(Attributed, tag="TOOL_CALL_RESULT", frozen=True):
    message_id: str
    tool_call_id: str
    content: Content
    role: Literal["tool"] | None = None


# State, snapshots, activities, custom


class StateSnapshot(Attributed, tag="STATE_SNAPSHOT", frozen=True):
    snapshot: Any


class StateDelta(Attributed, tag="STATE_DELTA", frozen=True):
    delta: JsonPatch


class MessagesSnapshot(AgentEvent, tag="MESSAGES_SNAPSHOT", frozen=True):
    messages: list[Message]


class ActivitySnapshot(Attributed, tag="ACTIVITY_SNAPSHOT", frozen=True):
    message_id: str
    activity_type: str
    content: dict[str, Any]
    replace: bool | None = None


class ActivityDelta(Attributed, tag="ACTIVITY_DELTA", frozen=True):
    message_id: str
    activity_type: str
    patch: JsonPatch


class Raw(Attributed, tag="RAW", frozen=True):
    event: Any
    source: str | None = None


class Custom(Attributed, tag="CUSTOM", frozen=True):
    name: str
    value: Any


# Runs and steps


class RunStarted(AgentEvent, tag="RUN_STARTED", frozen=True):
    thread_id: str
    run_id: str
    protocol_version: str | None = None
    parent_run_id: str | None = None
    input: RunAgentInput | None = None


class RunFinished(AgentEvent, tag="RUN_FINISHED", frozen=True):
    thread_id: str
    run_id: str
    result: Any = None
    outcome: RunOutcome | None = None
    usage: list[TokenUsage] | None = None


class RunError(AgentEvent, tag="RUN_ERROR", frozen=True):
    message: str
    code: str | None = None
    usage: list[TokenUsage] | None = None


class StepStarted(Attributed, tag="STEP_STARTED", frozen=True):
    step_name: str


class StepFinished(Attributed, tag="STEP_FINISHED", frozen=True):
    step_name: str


# Reasoning


class ReasoningStart(Attributed, tag="REASONING_START", frozen=True):
    message_id: str


class ReasoningMessageStart(Attributed, tag="REASONING_MESSAGE_START", frozen=True):
    message_id: str
    role: Literal["reasoning"]


class ReasoningMessageContent(
    Attributed, tag="REASONING_MESSAGE_CONTENT", kw_only=True, frozen=True
):
    message_id: str
    delta: str


class ReasoningMessageEnd(Attributed, tag="REASONING_MESSAGE_END", frozen=True):
    message_id: str


class ReasoningMessageChunk(Attributed, tag="REASONING_MESSAGE_CHUNK", frozen=True):
    message_id: str | None = None
    delta: str | None = None


class ReasoningEnd(Attributed, tag="REASONING_END", frozen=True):
    message_id: str


class ReasoningEncryptedValue(Attributed, tag="REASONING_ENCRYPTED_VALUE", frozen=True):
    subtype: Literal["tool-call", "message"]
    entity_id: str
    encrypted_value: str


# Subagents: the id is the subagent's own, so it is required here


class SubagentStarted(AgentEvent, tag="SUBAGENT_STARTED", frozen=True):
    subagent_run_id: str
    name: str
    description: str | None = None
    parent_subagent_run_id: str | None = None
    parent_tool_call_id: str | None = None
    parent_message_id: str | None = None


class SubagentFinished(AgentEvent, tag="SUBAGENT_FINISHED", frozen=True):
    subagent_run_id: str
    result: Any = None
    outcome: SubagentOutcome | None = None


class SubagentError(AgentEvent, tag="SUBAGENT_ERROR", frozen=True):
    subagent_run_id: str
    message: str
    code: str | None = None


# The gateway's own

Overlap = Literal["queue", "steer", "interrupt", "reject"]
SteeringOutcome = Literal["delivered", "undelivered"]
Level = Literal["info", "warning", "error"]


class MessageAccepted(Event, tag="message.accepted", frozen=True):
    """A user message was appended to the log. A run answers it, now or from the queue."""

    message: UserMessage
    overlap: Overlap
    agent: str | None = None
    by: str | None = None
    """The id of the identity that sent it; absent when it is anonymous."""


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


class HistoryCleared(Event, tag="history.cleared", frozen=True):
    """The history was cleared: earlier messages are not shown, or given to the model, any more."""


class HistoryBranched(Event, tag="history.branched", frozen=True):
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

AguiEvent = (
    TextMessageStart
    | TextMessageContent
    | TextMessageEnd
    | TextMessageChunk
    | ToolCallStart
    | ToolCallArgs
    | ToolCallEnd
    | ToolCallChunk
    | ToolCallResult
    | StateSnapshot
    | StateDelta
    | MessagesSnapshot
    | ActivitySnapshot
    | ActivityDelta
    | Raw
    | Custom
    | RunStarted
    | RunFinished
    | RunError
    | StepStarted
    | StepFinished
    | ReasoningStart
    | ReasoningMessageStart
    | ReasoningMessageContent
    | ReasoningMessageEnd
    | ReasoningMessageChunk
    | ReasoningEnd
    | ReasoningEncryptedValue
    | SubagentStarted
    | SubagentFinished
    | SubagentError
)

AnyEvent = AguiEvent | GatewayEvent

__all__ = ["AGUI_VERSION", "AgentEvent", "AguiEvent", "AnyEvent", "Event", "GatewayEvent"]
__all__ += ["Interrupt", "JsonPatch", "Level", "Overlap", "Role", "UserMessage"]

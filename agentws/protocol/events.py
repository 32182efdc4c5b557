"""The events of a log: AG-UI 1.0's 31, and the gateway's own.

An AG-UI event has an upper-case ``type`` and belongs to a run; a gateway event has a lower-case
one in the past tense. A ``delta`` of text is declared last, so that two encoded deltas of one
message differ only at their end: :mod:`agentws.protocol.merge` relies on it.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from .event_base import AgentEvent, Attributed, Event, JsonPatch
from .gateway_events import (
    AgentChosen,
    Attempt,
    GatewayEvent,
    HistoryBranched,
    HistoryCleared,
    InterruptAnswered,
    Level,
    MessageAccepted,
    MessageEdited,
    MessagePromoted,
    MessageSteered,
    MessageWithdrawn,
    NoticePosted,
    Overlap,
    Retention,
    RunCancelling,
    SessionUpdated,
    StateChanged,
    SteeringOutcome,
    next_attempt,
)
from .messages import (
    Content,
    Interrupt,
    Message,
    RunAgentInput,
    RunOutcome,
    SubagentOutcome,
    TokenUsage,
    UserMessage,
)

AGUI_VERSION: Final = "1.0"

Role = Literal["developer", "system", "assistant", "user"]


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

__all__ = ["AGUI_VERSION", "AgentChosen", "AgentEvent", "AguiEvent", "AnyEvent", "Attempt"]
__all__ += ["Attributed", "Event", "GatewayEvent", "HistoryBranched", "HistoryCleared"]
__all__ += ["Interrupt", "InterruptAnswered", "JsonPatch", "Level", "MessageAccepted"]
__all__ += ["MessageEdited", "MessagePromoted", "MessageSteered", "MessageWithdrawn"]
__all__ += ["NoticePosted", "Overlap", "Retention", "Role", "RunCancelling"]
__all__ += ["SessionUpdated", "StateChanged", "SteeringOutcome", "UserMessage", "next_attempt"]

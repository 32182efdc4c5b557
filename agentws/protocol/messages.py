"""AG-UI 1.0 messages, content parts, interrupts and usage.

Wire names are camelCase; an optional field that is ``None`` is absent on the wire, never ``null``.
Source: the AG-UI 1.0 specification, "Messages" and "Interrupts".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

Metadata = Mapping[str, Any]


class Wire(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The base of all wire types: frozen, camelCase on the wire, ``None`` is left out."""


def told_in(metadata: Metadata | None) -> dict[str, Any]:
    """What the gateway has told in the metadata of an event, a message or a question."""
    told = (metadata or {}).get("agentws")
    return told if isinstance(told, dict) else {}


# Content parts


class DataSource(Wire, tag_field="type", tag="data", frozen=True):
    """Content in the message itself, as base64."""

    value: str
    mime_type: str


class UrlSource(Wire, tag_field="type", tag="url", frozen=True):
    """Content at a URL. The gateway never fetches it."""

    value: str
    mime_type: str | None = None


class FileSource(Wire, tag_field="type", tag="file", frozen=True):
    """Content by the opaque id of a file that ``provider`` stores."""

    value: str
    provider: str | None = None
    mime_type: str | None = None


Source = DataSource | UrlSource | FileSource


class TextPart(Wire, tag_field="type", tag="text", frozen=True):
    text: str
    id: str | None = None
    metadata: Any = None


class Media(Wire, tag_field="type", frozen=True):
    """The base of content parts that are not text."""

    source: Source
    id: str | None = None
    metadata: Any = None


class ImagePart(Media, tag="image", frozen=True):
    pass


class AudioPart(Media, tag="audio", frozen=True):
    pass


class VideoPart(Media, tag="video", frozen=True):
    pass


class DocumentPart(Media, tag="document", frozen=True):
    pass


ContentPart = TextPart | ImagePart | AudioPart | VideoPart | DocumentPart
Content = str | list[ContentPart]


def text_of(content: Content | None) -> str:
    """The text parts of ``content``, joined in order."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content if isinstance(part, TextPart))


# Messages


class FunctionCall(Wire, frozen=True):
    name: str
    arguments: str
    """JSON, as a string."""


class ToolCall(Wire, tag_field="type", tag="function", frozen=True):
    id: str
    function: FunctionCall
    encrypted_value: str | None = None
    metadata: Metadata | None = None


class Attributed(Wire, tag_field="role", kw_only=True, frozen=True):
    """The base of messages: each may belong to a subagent's part of the run."""

    subagent_run_id: str | None = None
    metadata: Metadata | None = None


class Sealed(Attributed, kw_only=True, frozen=True):
    """A message that may carry a value only its provider can decrypt."""

    encrypted_value: str | None = None


class Named(Sealed, kw_only=True, frozen=True):
    """A message whose author may have a name."""

    name: str | None = None


class DeveloperMessage(Named, tag="developer", frozen=True):
    id: str
    content: str


class SystemMessage(Named, tag="system", frozen=True):
    id: str
    content: str


class AssistantMessage(Named, tag="assistant", frozen=True):
    id: str
    content: str | None = None
    tool_calls: list[ToolCall] | None = None


class UserMessage(Named, tag="user", frozen=True):
    id: str
    content: Content


class ToolMessage(Sealed, tag="tool", frozen=True):
    id: str
    content: Content
    tool_call_id: str
    error: str | None = None


class ActivityMessage(Attributed, tag="activity", frozen=True):
    id: str
    activity_type: str
    content: dict[str, Any]


class ReasoningMessage(Sealed, tag="reasoning", frozen=True):
    id: str
    content: str


Message = (
    DeveloperMessage
    | SystemMessage
    | AssistantMessage
    | UserMessage
    | ToolMessage
    | ActivityMessage
    | ReasoningMessage
)


# Runs: their input, their interrupts, what they cost


class Tool(Wire, frozen=True):
    name: str
    description: str
    parameters: Any = None
    metadata: Metadata | None = None


class Context(Wire, frozen=True):
    description: str
    value: str


class ResumeEntry(Wire, frozen=True):
    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: Any = None
    metadata: Metadata | None = None


CLIENT_TOOL: Final = "agentws:client_tool"
"""The reason of an interrupt that a client answers with the result of its own tool."""


class Interrupt(Wire, frozen=True):
    id: str
    reason: str
    message: str | None = None
    tool_call_id: str | None = None
    response_schema: dict[str, Any] | None = None
    expires_at: str | None = None
    subagent_run_id: str | None = None
    metadata: Metadata | None = None


class RunAgentInput(Wire, omit_defaults=False, frozen=True):
    """``tools`` and ``context`` are always written: AG-UI clients before 1.0 require them."""

    thread_id: str
    run_id: str
    messages: list[Message]
    tools: list[Tool] = []
    context: list[Context] = []
    protocol_version: str | msgspec.UnsetType = msgspec.UNSET
    parent_run_id: str | msgspec.UnsetType = msgspec.UNSET
    state: Any = msgspec.UNSET
    forwarded_props: Any = msgspec.UNSET
    resume: list[ResumeEntry] | msgspec.UnsetType = msgspec.UNSET


class TokenUsage(Wire, frozen=True):
    """One entry per provider and model."""

    provider: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None


class SuccessOutcome(Wire, tag_field="type", tag="success", frozen=True):
    pending_tool_call_ids: list[str] | None = None


class InterruptOutcome(Wire, tag_field="type", tag="interrupt", frozen=True):
    interrupts: list[Interrupt]


class CancelledOutcome(Wire, tag_field="type", tag="cancelled", frozen=True):
    pass


RunOutcome = SuccessOutcome | InterruptOutcome | CancelledOutcome


class SubagentSuccess(Wire, tag_field="type", tag="success", frozen=True):
    pass


class SubagentSuspended(Wire, tag_field="type", tag="suspended", frozen=True):
    interrupt_ids: list[str] | None = None


SubagentOutcome = SubagentSuccess | SubagentSuspended

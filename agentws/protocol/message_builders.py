"""Messages while they grow: deltas are kept as a list until the message is read."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..errors import BadRequest
from . import events as e
from . import messages as m
from .jsonpatch import apply_patch

_TextMessage = m.SystemMessage | m.DeveloperMessage | m.UserMessage | m.AssistantMessage
_TEXT_MESSAGES: Final[dict[str | None, type[_TextMessage]]] = {
    "system": m.SystemMessage,
    "developer": m.DeveloperMessage,
    "user": m.UserMessage,
    "assistant": m.AssistantMessage,
    None: m.AssistantMessage,
}


def text_message(start: e.TextMessageStart) -> m.Message:
    """The empty message that ``start`` opens."""
    return _TEXT_MESSAGES[start.role](
        start.message_id,
        "",
        name=start.name,
        subagent_run_id=start.subagent_run_id,
        metadata=start.metadata,
    )


def reasoning_message(start: e.ReasoningMessageStart) -> m.Message:
    return m.ReasoningMessage(
        start.message_id, "", subagent_run_id=start.subagent_run_id, metadata=start.metadata
    )


def activity_message(snapshot: e.ActivitySnapshot) -> m.Message:
    return m.ActivityMessage(
        snapshot.message_id,
        snapshot.activity_type,
        snapshot.content,
        subagent_run_id=snapshot.subagent_run_id,
        metadata=snapshot.metadata,
    )


class Builder:
    """One message of a conversation, complete or growing; it begins as any message."""

    __slots__ = ("_arguments", "_message", "_pieces")

    def __init__(self, message: m.Message) -> None:
        self._message = message
        self._pieces: list[str] = []
        self._arguments: dict[str, list[str]] = {}

    @property
    def id(self) -> str:
        return self._message.id

    @property
    def kind(self) -> type[m.Message]:
        return type(self._message)

    @property
    def calls(self) -> list[m.ToolCall]:
        """Its tool calls, without the arguments that were appended since :meth:`build`."""
        message = self._message
        return (message.tool_calls or []) if isinstance(message, m.AssistantMessage) else []

    def build(self) -> m.Message:
        if self._pieces:
            text = "".join([getattr(self._message, "content", None) or "", *self._pieces])
            self._change(content=text)
            self._pieces = []
        if self._arguments:
            self._change(tool_calls=[self._with_arguments(call) for call in self.calls])
            self._arguments = {}
        return self._message

    def append(self, delta: str) -> None:
        """AG-UI: appends to a message that holds text, also when it was closed before."""
        match self._message:
            case m.ToolMessage() | m.ActivityMessage():
                return
            case m.UserMessage(content=list()):
                return
            case _:
                self._pieces.append(delta)

    def add_metadata(self, metadata: m.Metadata | None) -> None:
        """AG-UI: merges an event's metadata into the message's; the newest value wins."""
        if metadata:
            self._change(metadata={**(self._message.metadata or {}), **metadata})

    def set_encrypted_value(self, value: str) -> None:
        """Sets the value that only the message's provider can decrypt."""
        if isinstance(self._message, m.Sealed):
            self._change(encrypted_value=value)

    def patch(self, patch: e.JsonPatch) -> None:
        """AG-UI: a patch that does not apply leaves the content of an activity unchanged."""
        if not isinstance(self._message, m.ActivityMessage):
            return
        try:
            content = apply_patch(self._message.content, patch)
        except BadRequest:
            return
        if isinstance(content, dict):
            self._change(content=content)

    # Calls

    def add_call(self, start: e.ToolCallStart) -> None:
        function = m.FunctionCall(start.tool_call_name, "")
        call = m.ToolCall(start.tool_call_id, function, metadata=start.metadata)
        self._change(tool_calls=[*self.calls, call])

    def append_arguments(self, call: str, delta: str) -> None:
        self._arguments.setdefault(call, []).append(delta)

    def change_call(
        self, id: str, *, metadata: m.Metadata | None = None, encrypted_value: str | None = None
    ) -> None:
        """Merges ``metadata`` into the call's; sets its encrypted value."""
        changes: dict[str, Any] = {}
        if encrypted_value is not None:
            changes["encrypted_value"] = encrypted_value
        calls: list[m.ToolCall] = []
        for call in self.calls:
            if call.id == id and metadata:
                changes["metadata"] = {**(call.metadata or {}), **metadata}
            calls.append(msgspec.structs.replace(call, **changes) if call.id == id else call)
        if changes:
            self._change(tool_calls=calls)

    def _with_arguments(self, call: m.ToolCall) -> m.ToolCall:
        pieces = self._arguments.get(call.id)
        if pieces is None:
            return call
        arguments = "".join([call.function.arguments, *pieces])
        function = m.FunctionCall(call.function.name, arguments)
        return msgspec.structs.replace(call, function=function)

    def _change(self, **changes: Any) -> None:
        self._message = msgspec.structs.replace(self._message, **changes)

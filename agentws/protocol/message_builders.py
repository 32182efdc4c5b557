"""A message while it grows: text is kept in pieces until someone reads it."""

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
    """The message that ``start`` begins."""
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
    """One message of a conversation, complete or growing. It may begin with any message."""

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
        """The calls it makes, without the arguments that came since it was last built."""
        message = self._message
        return (message.tool_calls or []) if isinstance(message, m.AssistantMessage) else []

    def build(self) -> m.Message:
        if self._pieces:
            text = "".join([getattr(self._message, "content", None) or "", *self._pieces])
            self._change(content=text)
            self._pieces = []
        if self._arguments:
            self._change(tool_calls=[self._argued(call) for call in self.calls])
            self._arguments = {}
        return self._message

    def append(self, delta: str) -> None:
        """AG-UI: a message that holds text goes on with it, also one that was closed before."""
        match self._message:
            case m.ToolMessage() | m.ActivityMessage():
                return
            case m.UserMessage(content=list()):
                return
            case _:
                self._pieces.append(delta)

    def add_metadata(self, metadata: m.Metadata | None) -> None:
        """AG-UI: what an event says beside its own members is the message's, newest first."""
        if metadata:
            self._change(metadata={**(self._message.metadata or {}), **metadata})

    def seal(self, value: str) -> None:
        """Keeps what only the message's provider can read."""
        if isinstance(self._message, m.Sealed):
            self._change(encrypted_value=value)

    def patch(self, patch: e.JsonPatch) -> None:
        """AG-UI: a patch that does not apply leaves an activity's content as it was."""
        if not isinstance(self._message, m.ActivityMessage):
            return
        try:
            content = apply_patch(self._message.content, patch)
        except BadRequest:
            return
        if isinstance(content, dict):
            self._change(content=content)

    # Calls

    def call(self, start: e.ToolCallStart) -> None:
        """Adds a call."""
        function = m.FunctionCall(start.tool_call_name, "")
        call = m.ToolCall(start.tool_call_id, function, metadata=start.metadata)
        self._change(tool_calls=[*self.calls, call])

    def argue(self, call: str, delta: str) -> None:
        self._arguments.setdefault(call, []).append(delta)

    def change_call(
        self, id: str, *, metadata: m.Metadata | None = None, encrypted_value: str | None = None
    ) -> None:
        """Merges ``metadata`` into that call's; keeps what only its provider can read."""
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

    def _argued(self, call: m.ToolCall) -> m.ToolCall:
        pieces = self._arguments.get(call.id)
        if pieces is None:
            return call
        arguments = "".join([call.function.arguments, *pieces])
        function = m.FunctionCall(call.function.name, arguments)
        return msgspec.structs.replace(call, function=function)

    def _change(self, **changes: Any) -> None:
        self._message = msgspec.structs.replace(self._message, **changes)

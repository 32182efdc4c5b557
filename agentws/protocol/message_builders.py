"""Messages while they grow: text is kept in pieces until someone reads it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

import msgspec

from ..errors import BadRequest
from . import events as e
from . import messages as m
from .jsonpatch import apply_patch


class Builder(ABC):
    """One message of a conversation, complete or growing."""

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks: dict[str, Any] | None = None

    def mark(self, key: str, value: Any) -> None:
        """Puts ``value`` under ``key`` of the message's metadata."""
        self._marks = {**(self._marks or {}), key: value}

    def build(self) -> m.Message:
        message = self._build()
        if self._marks is None:
            return message
        metadata = {**(message.metadata or {}), **self._marks}
        return msgspec.structs.replace(message, metadata=metadata)

    @abstractmethod
    def _build(self) -> m.Message: ...


class Fixed(Builder):
    """A message that came whole."""

    __slots__ = ("_message",)

    def __init__(self, message: m.Message) -> None:
        super().__init__()
        self._message = message

    def _build(self) -> m.Message:
        return self._message


_OTHER_ROLES: Final[dict[str, type[m.SystemMessage | m.DeveloperMessage | m.UserMessage]]] = {
    "system": m.SystemMessage,
    "developer": m.DeveloperMessage,
    "user": m.UserMessage,
}


class AssistantBuilder(Builder):
    """Text and tool calls of one assistant message (or text of another role that was streamed)."""

    __slots__ = ("_calls", "_pieces", "_start", "id")

    def __init__(self, id: str, start: e.TextMessageStart | None) -> None:
        super().__init__()
        self.id = id
        self._start = start
        self._pieces: list[str] | None = None if start is None else []
        self._calls: dict[str, tuple[m.ToolCall, list[str]]] = {}

    @classmethod
    def restated(cls, message: m.AssistantMessage) -> AssistantBuilder:
        """A builder that goes on from a message that a snapshot gave whole."""
        start = e.TextMessageStart(message.id, name=message.name, metadata=message.metadata)
        builder = cls(message.id, start)
        if message.content is None:
            builder._pieces = None
        else:
            builder._pieces = [message.content]
        for call in message.tool_calls or ():
            builder._calls[call.id] = (call, [call.function.arguments])
        return builder

    def call_ids(self) -> list[str]:
        return list(self._calls)

    def append(self, delta: str) -> None:
        if self._pieces is None:
            self._pieces = []
        self._pieces.append(delta)

    def call(self, start: e.ToolCallStart) -> None:
        function = m.FunctionCall(start.tool_call_name, "")
        call = m.ToolCall(start.tool_call_id, function, metadata=start.metadata)
        self._calls.setdefault(start.tool_call_id, (call, []))

    def argue(self, call: str, delta: str) -> None:
        self._calls[call][1].append(delta)

    def _build(self) -> m.Message:
        content = None if self._pieces is None else "".join(self._pieces)
        name = self._start.name if self._start else None
        metadata = self._start.metadata if self._start else None
        role = self._start.role if self._start else None
        if role in _OTHER_ROLES:
            return _OTHER_ROLES[role](self.id, content or "", name=name, metadata=metadata)
        return m.AssistantMessage(
            self.id,
            content,
            [self._called(*call) for call in self._calls.values()] or None,
            name=name,
            subagent_run_id=self._start.subagent_run_id if self._start else None,
            metadata=metadata,
        )

    @staticmethod
    def _called(call: m.ToolCall, arguments: list[str]) -> m.ToolCall:
        function = m.FunctionCall(call.function.name, "".join(arguments))
        return msgspec.structs.replace(call, function=function)


class ReasoningBuilder(Builder):
    __slots__ = ("_pieces", "_start", "id")

    def __init__(self, id: str, start: e.ReasoningMessageStart) -> None:
        super().__init__()
        self.id = id
        self._start = start
        self._pieces: list[str] = []

    def append(self, delta: str) -> None:
        self._pieces.append(delta)

    def _build(self) -> m.Message:
        return m.ReasoningMessage(
            self.id,
            "".join(self._pieces),
            subagent_run_id=self._start.subagent_run_id,
            metadata=self._start.metadata,
        )


class ActivityBuilder(Builder):
    __slots__ = ("_message",)

    def __init__(self, event: e.ActivitySnapshot) -> None:
        super().__init__()
        self._message = m.ActivityMessage(
            event.message_id,
            event.activity_type,
            event.content,
            subagent_run_id=event.subagent_run_id,
            metadata=event.metadata,
        )

    def patch(self, patch: e.JsonPatch) -> None:
        """AG-UI: a patch that does not apply leaves the content as it was."""
        try:
            content = apply_patch(self._message.content, patch)
        except BadRequest:
            return
        if not isinstance(content, dict):
            return
        self._message = msgspec.structs.replace(self._message, content=content)

    def _build(self) -> m.Message:
        return self._message

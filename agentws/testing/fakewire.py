"""The streaming formats of OpenAI and Anthropic that the fake model server sends. No I/O."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ..agents.llm import LLMPiece
from ..protocol.events import ReasoningEncryptedValue, ReasoningMessageChunk, ToolCallChunk

Body = Mapping[str, Any]


class Wire(ABC):
    """How one provider streams an answer over server-sent events (SSE)."""

    path: ClassVar[str]
    finishes: ClassVar[Mapping[str, str]]
    """The provider's finish reason for each of a script's; any other is sent unchanged."""
    malformed: ClassVar[bytes]
    last: ClassVar[bytes] = b""
    """The bytes after the last event of a complete answer."""

    @abstractmethod
    def begin(self, body: Body) -> Iterator[Body]: ...

    @abstractmethod
    def piece(self, piece: LLMPiece, opened: list[str]) -> Iterator[Body]:
        """The events for a piece of an answer.

        ``opened`` belongs to the answer: the parts of it that were begun, as the wire names them.
        """

    @abstractmethod
    def end(
        self, body: Body, finish: Any, given: int, written: int, opened: list[str]
    ) -> Iterator[Body]:
        """The events after the last piece. ``given`` and ``written`` are numbers of tokens."""

    @abstractmethod
    def error(self, status: int, message: str) -> dict[str, Any]: ...

    @abstractmethod
    def event(self, data: Any, *, name: str | None = None) -> bytes:
        """``data``, any JSON value, encoded as one event of the stream."""

    def _finish(self, finish: Any) -> Any:
        return self.finishes.get(finish, finish) if isinstance(finish, str) else finish

    def turns(self, body: Body) -> Iterator[tuple[str, str]]:
        """Role and text of each message in a request; the instructions come first."""
        for message in body["messages"]:
            yield message["role"], _text(message.get("content"))


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(_text(block.get("text", block.get("content"))) for block in content)


class ChatCompletions(Wire):
    path = "/v1/chat/completions"
    finishes = {"refused": "content_filter", "calls": "tool_calls"}
    malformed = b'data: {"choices": [{"delta":\n\n'
    last = b"data: [DONE]\n\n"

    def begin(self, body: Body) -> Iterator[Body]:
        yield self._chunk({"role": "assistant", "content": ""})

    def piece(self, piece: LLMPiece, opened: list[str]) -> Iterator[Body]:
        match piece:
            case str():
                yield self._chunk({"content": piece})
            case ReasoningMessageChunk(delta=delta):
                yield self._chunk({"reasoning_content": delta})
            case ToolCallChunk(tool_call_id=str(id), delta=delta):
                function: dict[str, Any] = {"arguments": delta or ""}
                call: dict[str, Any] = {"function": function}
                if id not in opened:
                    opened.append(id)
                    function["name"] = piece.tool_call_name
                    call |= {"id": id, "type": "function"}
                yield self._chunk({"tool_calls": [{"index": opened.index(id)} | call]})

    def end(
        self, body: Body, finish: Any, given: int, written: int, opened: list[str]
    ) -> Iterator[Body]:
        yield self._chunk({}, self._finish(finish))
        if (body.get("stream_options") or {}).get("include_usage"):
            total = given + written
            usage = {"prompt_tokens": given, "completion_tokens": written, "total_tokens": total}
            yield _COMPLETION | {"choices": [], "usage": usage}

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"error": {"message": message, "type": _kind(status), "code": str(status)}}

    def event(self, data: Any, *, name: str | None = None) -> bytes:
        return b"data: " + json.dumps(data).encode() + b"\n\n"

    def _chunk(self, delta: Body, finish: str | None = None) -> Body:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _COMPLETION | {"choices": [choice]}


_COMPLETION = {
    "id": "chatcmpl-fake",
    "object": "chat.completion.chunk",
    "created": 0,
    "model": "fake",
}


class Messages(Wire):
    path = "/v1/messages"
    finishes = {
        "stop": "end_turn",
        "length": "max_tokens",
        "refused": "refusal",
        "calls": "tool_use",
    }
    malformed = b'event: content_block_delta\ndata: {"type": "content_block_delta",\n\n'

    def turns(self, body: Body) -> Iterator[tuple[str, str]]:
        if "system" in body:
            yield "system", _text(body["system"])
        for message in body["messages"]:
            content = message["content"]
            blocks = [{"text": content}] if isinstance(content, str) else content
            results = [block for block in blocks if block.get("type") == "tool_result"]
            yield from (("tool", _text(result["content"])) for result in results)
            rest = [block for block in blocks if block not in results]
            if rest:
                yield message["role"], _text(rest)

    def begin(self, body: Body) -> Iterator[Body]:
        given = sum(len(text.split()) for _, text in self.turns(body))
        message: Body = {
            "id": "msg_fake",
            "type": "message",
            "role": "assistant",
            "model": "fake",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": given, "output_tokens": 0},
        }
        yield {"type": "message_start", "message": message}
        yield {"type": "ping"}

    def piece(self, piece: LLMPiece, opened: list[str]) -> Iterator[Body]:
        name, block, delta = _block(piece)
        if opened[-1:] != [name]:
            yield from self._stop(opened)
            opened.append(name)
            start = {"type": "content_block_start", "index": len(opened) - 1}
            yield start | {"content_block": block}
        if delta:
            yield {"type": "content_block_delta", "index": len(opened) - 1, "delta": delta}

    def _stop(self, opened: list[str]) -> Iterator[Body]:
        if opened:
            yield {"type": "content_block_stop", "index": len(opened) - 1}

    def end(
        self, body: Body, finish: Any, given: int, written: int, opened: list[str]
    ) -> Iterator[Body]:
        yield from self._stop(opened)
        delta = {"stop_reason": self._finish(finish), "stop_sequence": None}
        usage = {"output_tokens": written}
        yield {"type": "message_delta", "delta": delta, "usage": usage}
        yield {"type": "message_stop"}

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": _kind(status), "message": message}}

    def event(self, data: Any, *, name: str | None = None) -> bytes:
        kind = data.get("type") if isinstance(data, Mapping) else None
        return f"event: {name or kind or 'message'}\ndata: {json.dumps(data)}\n\n".encode()


def _block(piece: LLMPiece) -> tuple[str, Body, Body]:
    """The content block that ``piece`` belongs to: its name, its beginning, and the delta."""
    match piece:
        case ToolCallChunk(tool_call_id=id, tool_call_name=name, delta=delta):
            block: Body = {"type": "tool_use", "id": id, "name": name, "input": {}}
            json_delta = {"type": "input_json_delta", "partial_json": delta}
            return f"call {id}", block, json_delta if delta is not None else {}
        case ReasoningMessageChunk(delta=delta):
            return "thinking", _THINKING, {"type": "thinking_delta", "thinking": delta}
        case ReasoningEncryptedValue(encrypted_value=value):
            return "thinking", _THINKING, {"type": "signature_delta", "signature": value}
        case _:
            block = {"type": "text", "text": ""}
            return "text", block, {"type": "text_delta", "text": piece}


_THINKING: Body = {"type": "thinking", "thinking": "", "signature": ""}

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def _kind(status: int) -> str:
    return _KINDS.get(status, "api_error")


WIRES: tuple[Wire, ...] = (ChatCompletions(), Messages())

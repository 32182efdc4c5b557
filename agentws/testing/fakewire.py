"""The streaming formats of OpenAI and Anthropic that the fake model server sends. No I/O."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

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
    def delta(self, text: str) -> Body: ...

    @abstractmethod
    def end(self, body: Body, finish: Any, given: int, written: int) -> Iterator[Body]:
        """The events after the text. ``given`` and ``written`` are numbers of tokens."""

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
    finishes = {"refused": "content_filter"}
    malformed = b'data: {"choices": [{"delta":\n\n'
    last = b"data: [DONE]\n\n"

    def begin(self, body: Body) -> Iterator[Body]:
        yield self._chunk({"role": "assistant", "content": ""})

    def delta(self, text: str) -> Body:
        return self._chunk({"content": text})

    def end(self, body: Body, finish: Any, given: int, written: int) -> Iterator[Body]:
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
    finishes = {"stop": "end_turn", "length": "max_tokens", "refused": "refusal"}
    malformed = b'event: content_block_delta\ndata: {"type": "content_block_delta",\n\n'

    def turns(self, body: Body) -> Iterator[tuple[str, str]]:
        if "system" in body:
            yield "system", _text(body["system"])
        yield from super().turns(body)

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
        block = {"type": "text", "text": ""}
        yield {"type": "content_block_start", "index": 0, "content_block": block}
        yield {"type": "ping"}

    def delta(self, text: str) -> Body:
        delta = {"type": "text_delta", "text": text}
        return {"type": "content_block_delta", "index": 0, "delta": delta}

    def end(self, body: Body, finish: Any, given: int, written: int) -> Iterator[Body]:
        yield {"type": "content_block_stop", "index": 0}
        delta = {"stop_reason": self._finish(finish), "stop_sequence": None}
        usage = {"output_tokens": written}
        yield {"type": "message_delta", "delta": delta, "usage": usage}
        yield {"type": "message_stop"}

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": _kind(status), "message": message}}

    def event(self, data: Any, *, name: str | None = None) -> bytes:
        kind = data.get("type") if isinstance(data, Mapping) else None
        return f"event: {name or kind or 'message'}\ndata: {json.dumps(data)}\n\n".encode()


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

"""The simple wire: for a client that knows nothing.

Every message out is one object with ``type``, ``content``, ``metadata`` and ``timestamp``, and only
what a person may read, since such clients render the ``content`` of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from ..errors import BadRequest
from . import events as e
from . import frames as f
from .codec import Record, decode_record, event_type
from .events import AnyEvent
from .merge import merge, split_delta
from .spoken import Spoken
from .strict import check_value

OutType = Literal["text", "delta", "system", "notice", "error"]


class SimpleFrame(msgspec.Struct, frozen=True):
    """What a simple client receives, always."""

    type: OutType
    content: str
    metadata: dict[str, Any]
    timestamp: str


class SimpleMessage(msgspec.Struct, frozen=True):
    """What a simple client sent: a user message, or a ping."""

    content: str
    metadata: dict[str, Any] | None = None


_objects: Final[msgspec.json.Decoder[dict[str, Any]]] = msgspec.json.Decoder(dict[str, Any])
_encoder: Final = msgspec.json.Encoder()
_EXPECTED: Final = 'plain text, or {"type": "text", "content": "..."}'

_READ: Final = frozenset(
    {
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
        "RUN_ERROR",
        "notice.posted",
    }
)


def parse_simple(text: str) -> SimpleMessage:
    """What the client means; raises BadRequest for an object that has a type and does not fit.

    Text that is no JSON object is a message, verbatim, and so is an object that has neither
    ``type`` nor ``content``: people send code to agents.
    """
    if "\x00" in text:
        raise BadRequest("This message contains U+0000.", expected="text without it")
    if not text.startswith("{"):
        return SimpleMessage(text)
    try:
        value = _objects.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return SimpleMessage(text)
    return _object(value, text)


def _object(value: dict[str, Any], text: str) -> SimpleMessage:
    kind, content, metadata = value.get("type"), value.get("content"), value.get("metadata")
    if kind == "ping" and content is None:
        return SimpleMessage("ping")
    if kind is None and content is None:
        return SimpleMessage(text)
    if kind not in (None, "text"):
        raise BadRequest(f"There is no message type {str(kind)[:40]!r}.", expected=_EXPECTED)
    if not isinstance(content, str):
        raise BadRequest("This message has no text.", expected=_EXPECTED)
    if not (metadata is None or isinstance(metadata, dict)):
        raise BadRequest("The metadata is not an object.", expected='"metadata": {...}')
    check_value(value, "message")
    return SimpleMessage(content, metadata)


class SimpleWire:
    """One connection's view of the log: remembers the text of messages that are still open.

    ``now`` gives the time as ISO 8601 in UTC, for events that carry none.
    """

    __slots__ = ("_now", "_session", "_stream", "_texts")

    def __init__(self, *, session: str, stream: bool, now: Callable[[int | None], str]) -> None:
        self._session = session
        self._stream = stream
        self._now = now
        self._texts: dict[str, Spoken] = {}

    def prime(self, epoch: str, records: Sequence[Record]) -> None:
        """Takes up a run in its middle: its beginning is remembered, not said."""
        self.events(epoch, records)

    def events(self, epoch: str, records: Sequence[Record]) -> list[bytes]:
        frames: list[bytes] = []
        for record in merge(records):
            if event_type(record.data) not in _READ:
                continue
            body = decode_record(record.data)
            said = self._event(body.event, body.run, record.data)
            for frame in said:
                if frame is said[-1]:
                    # Who has the ones before it, and not this, comes back for all of them.
                    frame.metadata["position"] = f"{epoch}.{record.seq}.{record.tag}"
                frames.append(_encoder.encode(frame))
        return frames

    def _event(self, event: AnyEvent, run: str | None, data: bytes) -> list[SimpleFrame]:
        metadata: dict[str, Any] = {"session_id": self._session}
        if run is not None:
            metadata["run_id"] = run
        match event:
            case e.TextMessageStart(role=None | "assistant"):
                self._texts[event.message_id] = Spoken()
            case e.TextMessageContent() if event.message_id in self._texts:
                return self._continue(event, metadata, data)
            case e.TextMessageEnd() if event.message_id in self._texts:
                spoken = self._texts.pop(event.message_id)
                metadata["message_id"] = event.message_id
                return self._parts(spoken, spoken.rest(), metadata, ended=True)
            case e.RunFinished(outcome=outcome):
                if outcome is not None and outcome.__struct_config__.tag == "cancelled":
                    return [self._frame("system", "The answer was stopped.", metadata, event)]
            case e.RunError():
                metadata["code"] = event.code or "agent_error"
                return [self._frame("error", event.message, metadata, event)]
            case e.NoticePosted():
                metadata |= event.metadata or {}
                metadata["level"] = event.level
                return [self._frame("notice", event.content, metadata, event)]
            case _:
                pass
        return []

    def _continue(
        self, event: e.TextMessageContent, metadata: dict[str, Any], data: bytes
    ) -> list[SimpleFrame]:
        spoken = self._texts[event.message_id]
        head, text = split_delta(data)
        spoken.add(memoryview(data)[len(head or b"") :][: len(text)])
        metadata["message_id"] = event.message_id
        deltas = [self._frame("delta", event.delta, dict(metadata))] if self._stream else []
        return deltas + self._parts(spoken, spoken.due(), metadata, ended=False)

    def _parts(
        self, spoken: Spoken, texts: list[str], metadata: dict[str, Any], *, ended: bool
    ) -> list[SimpleFrame]:
        """``texts`` as messages: one that is whole, or parts that say so."""
        if ended and not spoken.parts:
            return [self._frame("text", text, metadata) for text in texts]
        first = spoken.parts - len(texts) + (2 if ended else 1)
        return [
            self._frame(
                "text",
                text,
                {**metadata, "part": number, "more": not (ended and text is texts[-1])},
            )
            for number, text in enumerate(texts, first)
        ]

    def control(self, frame: f.ControlFrame) -> bytes | None:
        """What a person may read of a control frame, if anything."""
        metadata: dict[str, Any] = {"session_id": self._session}
        match frame:
            case f.Notice():
                metadata |= frame.metadata or {}
                kind: OutType = "system" if "command" in metadata else "notice"
                return _encoder.encode(self._frame(kind, frame.content, metadata))
            case f.Error():
                metadata |= {"code": frame.code, "retryable": frame.retryable}
                if frame.retry_after is not None:
                    metadata["retry_after"] = frame.retry_after
                said = f"{frame.message} Expected {frame.expected}." if frame.expected else None
                return _encoder.encode(self._frame("error", said or frame.message, metadata))
            case _:
                return None

    def messages(self, parts: list[bytes]) -> list[bytes]:
        """The WebSocket messages that carry ``parts``: one each, always one object."""
        return parts

    def _frame(
        self,
        kind: OutType,
        content: str,
        metadata: dict[str, Any],
        event: AnyEvent | None = None,
    ) -> SimpleFrame:
        timestamp = None if event is None else event.timestamp
        return SimpleFrame(kind, content, metadata, self._now(timestamp))

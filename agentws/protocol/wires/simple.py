"""The simple wire, ``agentws.simple``: for a client that knows nothing of the protocol.

Every message out is one object with ``type``, ``content``, ``metadata`` and ``timestamp``. Only
what a person may read is sent, since such clients render the ``content`` of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from ...errors import BadRequest
from .. import events as e
from .. import frames as f
from ..attachments import ATTACHMENTS
from ..codec import Record, decode_record, event_type
from ..events import AnyEvent
from ..merge import merge, split_delta
from ..messages import CancelledOutcome, Interrupt, InterruptOutcome
from ..sources import MOST, source_line
from ..spoken import question_text
from ..strict import check_value
from .long_text import LongText
from .wire import EncoderContext, Opening, SocketWire

OutType = Literal["text", "delta", "system", "notice", "error"]


class SimpleFrame(msgspec.Struct, frozen=True):
    """The one form of every message to the client."""

    type: OutType
    content: str
    metadata: dict[str, Any]
    timestamp: str


class SimpleMessage(msgspec.Struct, frozen=True):
    """What a simple client sent: a user message or a command."""

    content: str
    metadata: dict[str, Any] | None = None


_objects: Final[msgspec.json.Decoder[dict[str, Any]]] = msgspec.json.Decoder(dict[str, Any])
_encoder: Final = msgspec.json.Encoder()
_EXPECTED: Final = 'plain text, or {"type": "text", "content": "..."}'

_SHOWN: Final = frozenset(
    {
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "ACTIVITY_SNAPSHOT",
        "RUN_FINISHED",
        "RUN_ERROR",
        "notice.posted",
    }
)


def parse_simple(text: str) -> SimpleMessage:
    """The message in ``text``. Raises BadRequest for an object with an unknown or wrong member.

    Text that is not a JSON object is a message, verbatim. So is an object that has neither ``type``
    nor ``content``: people send code to agents.
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
    if kind == "ping":
        return SimpleMessage("ping")
    if kind is None and content is None:
        return SimpleMessage(text)
    if kind not in (None, "text"):
        raise BadRequest(f"There is no message type {str(kind)[:40]!r}.", expected=_EXPECTED)
    if content is None and isinstance(metadata, dict) and ATTACHMENTS in metadata:
        content = ""
    if not isinstance(content, str):
        raise BadRequest("This message has no text.", expected=_EXPECTED)
    if not (metadata is None or isinstance(metadata, dict)):
        raise BadRequest("The metadata is not an object.", expected='"metadata": {...}')
    check_value(value, "message")
    return SimpleMessage(content, metadata)


def decode_simple(text: str) -> f.Say:
    """The client's message, without an id; it may answer a question. Raises BadRequest."""
    message = parse_simple(text)
    return f.Say(id=f.NO_ID, content=message.content, metadata=message.metadata)


class SimpleEncoder:
    """One connection's encoder: keeps the text of messages that are not finished, and the sources
    of a run, which are shown at its end.

    ``stream``: whether deltas are sent too. ``now`` gives the time as ISO 8601 in UTC, for events
    that carry none.
    """

    __slots__ = ("_now", "_session", "_sources", "_stream", "_texts")

    def __init__(self, *, session: str, stream: bool, now: Callable[[int | None], str]) -> None:
        self._session = session
        self._stream = stream
        self._now = now
        self._texts: dict[str, LongText] = {}
        self._sources: list[str] = []

    def events(self, epoch: str, records: Sequence[Record]) -> list[bytes]:
        parts: list[bytes] = []
        for record in merge(records):
            if event_type(record.data) not in _SHOWN:
                continue
            body = decode_record(record.data)
            frames = self._event(body.event, body.run, record.data)
            for frame in frames:
                if frame is frames[-1]:
                    # The last one alone has the position: a client that has not received it comes
                    # back to the position before, and gets all of them again.
                    frame.metadata["position"] = f"{epoch}.{record.seq}.{record.tag}"
                parts.append(_encoder.encode(frame))
        return parts

    def _event(self, event: AnyEvent, run: str | None, data: bytes) -> list[SimpleFrame]:
        metadata: dict[str, Any] = {"session_id": self._session}
        if run is not None:
            metadata["run_id"] = run
        match event:
            case e.TextMessageStart(role=None | "assistant", subagent_run_id=None):
                self._texts[event.message_id] = LongText()
            case e.TextMessageContent() if event.message_id in self._texts:
                return self._continue(event, metadata, data)
            case e.TextMessageEnd() if event.message_id in self._texts:
                text = self._texts.pop(event.message_id)
                metadata["message_id"] = event.message_id
                return self._parts(text, text.rest(), metadata, ended=True)
            case e.ActivitySnapshot():
                line = source_line(event)
                if line is not None and len(self._sources) < MOST:
                    self._sources.append(line)
            case e.RunFinished() | e.RunError():
                return [*self._sources_of_run(metadata), *self._end(event, metadata)]
            case e.NoticePosted():
                metadata |= event.metadata or {}
                metadata["level"] = event.level
                return [self._frame("notice", event.content, metadata, event)]
            case _:
                pass
        return []

    def _end(
        self, event: e.RunFinished | e.RunError, metadata: dict[str, Any]
    ) -> list[SimpleFrame]:
        if isinstance(event, e.RunError):
            metadata = {**metadata, "code": event.code or "agent_error"}
            return [self._frame("error", event.message, metadata, event)]
        if isinstance(event.outcome, CancelledOutcome):
            return [self._frame("system", "The answer was stopped.", dict(metadata), event)]
        if isinstance(event.outcome, InterruptOutcome):
            return self._questions(event.outcome.interrupts, metadata, event)
        return []

    def _sources_of_run(self, metadata: dict[str, Any]) -> list[SimpleFrame]:
        lines, self._sources = self._sources, []
        content = "\n".join(["Sources:", *lines])
        return [self._frame("system", content, dict(metadata))] if lines else []

    def _questions(
        self, interrupts: Sequence[Interrupt], metadata: dict[str, Any], event: AnyEvent
    ) -> list[SimpleFrame]:
        texts = [(one.id, question_text(one)) for one in interrupts]
        return [
            self._frame("system", text, {**metadata, "interrupt": id}, event)
            for id, text in texts
            if text is not None
        ]

    def _continue(
        self, event: e.TextMessageContent, metadata: dict[str, Any], data: bytes
    ) -> list[SimpleFrame]:
        text = self._texts[event.message_id]
        head, encoded = split_delta(data)
        text.add(memoryview(data)[len(head or b"") :][: len(encoded)])
        metadata["message_id"] = event.message_id
        deltas = [self._frame("delta", event.delta, dict(metadata))] if self._stream else []
        return deltas + self._parts(text, text.due(), metadata, ended=False)

    def _parts(
        self, text: LongText, parts: list[str], metadata: dict[str, Any], *, ended: bool
    ) -> list[SimpleFrame]:
        """``parts`` of ``text`` as messages: one with the whole text, or several, numbered."""
        if ended and not text.parts:
            return [self._frame("text", part, metadata) for part in parts]
        first = text.parts - len(parts) + (2 if ended else 1)
        return [
            self._frame(
                "text",
                part,
                {**metadata, "part": number, "more": not (ended and part is parts[-1])},
            )
            for number, part in enumerate(parts, first)
        ]

    def control(self, frame: f.ControlFrame) -> bytes | None:
        """Notices and errors, which a person may read; ``None`` for any other control frame."""
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
                content = frame.message
                if frame.expected:
                    content = f"{content} Expected {frame.expected}."
                return _encoder.encode(self._frame("error", content, metadata))
            case _:
                return None

    def messages(self, parts: list[bytes]) -> list[bytes]:
        """One message per part: a message is always one object."""
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


def _make_encoder(context: EncoderContext) -> SimpleEncoder:
    stream = context.query.get("stream") == "1"
    return SimpleEncoder(session=context.session, stream=stream, now=context.now)


def _reply_to(text: str) -> str | None:
    """Messages have no id on this wire."""
    return None


WIRE: Final = SocketWire(
    name=f.SIMPLE,
    subprotocol=f.SIMPLE,
    encoder=_make_encoder,
    decode=decode_simple,
    reply_to=_reply_to,
    opening=Opening(snapshot=False, prime=True),
    binary_close_code=1003,
    default=True,
)

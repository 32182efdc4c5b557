"""JSON lines over plain HTTP: ``POST /ask`` with a text, and the answer streams back.

Made for ``curl``: ``curl -N -d 'Hello' http://localhost:8000/ask``. The answer is one frame of the
native wire per line (``application/x-ndjson``), or with ``Accept: text/plain`` its bare text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ...errors import BadRequest
from .. import events as e
from .. import frames as f
from ..bodies import Body, read_json
from ..codec import Record, decode_record, event_type
from ..events import AnyEvent, Overlap
from ..messages import CancelledOutcome, Content, InterruptOutcome, Metadata
from ..sources import MOST, source_line
from .native import NativeEncoder
from .wire import AnswerFormat, AskWire, EncoderContext, Question

_SHOWN: Final = frozenset(
    {
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "ACTIVITY_SNAPSHOT",
        "RUN_FINISHED",
        "RUN_ERROR",
        "message.withdrawn",
    }
)


class Ask(Body, kw_only=True, frozen=True):
    """The body as JSON: a ``send`` frame, and the session that it is for."""

    content: Content
    id: str | None = None
    session: str | None = None
    attachments: list[str] | None = None
    agent: str | None = None
    overlap: Overlap | None = None
    metadata: Metadata | None = None


_bodies: Final = msgspec.json.Decoder(Ask)


def read_ask(data: bytes) -> Question:
    """The question in a JSON body; raises BadRequest."""
    ask = read_json(_bodies, data)
    f.check_id(ask.id)
    frame = f.Send(
        id=ask.id or f.NO_ID,
        content=ask.content,
        attachments=ask.attachments,
        agent=ask.agent,
        overlap=ask.overlap,
        metadata=ask.metadata,
    )
    return Question(frame, ask.session)


def read_text(data: bytes) -> Question:
    """The whole body as the message, verbatim; raises BadRequest if it is not UTF-8."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BadRequest("This body is not UTF-8.", expected="text in UTF-8") from error
    if "\x00" in text:
        raise BadRequest("This body contains U+0000.", expected="text without it")
    return Question(f.Send(id=f.NO_ID, content=text))


class LineEncoder(NativeEncoder):
    """Stateless. A part is one frame of the native wire and the line break that ends it."""

    __slots__ = ()

    def events(self, epoch: str, records: Sequence[Record]) -> list[bytes]:
        return [b"%b\n" % frame for frame in super().events(epoch, records)]

    def control(self, frame: f.ControlFrame) -> bytes | None:
        return b"%b\n" % f.encode_frame(frame)

    def messages(self, parts: list[bytes]) -> list[bytes]:
        """All lines in one chunk."""
        return [b"".join(parts)]


class TextEncoder:
    """One response's encoder: the text of the agent's messages, each ended by a line break.

    Its sources follow, each on a line. An answer that failed, was stopped or asks a question has a
    last line in brackets that says so.
    """

    __slots__ = ("_line_start", "_open", "_sources")

    def __init__(self) -> None:
        self._open: set[str] = set()
        self._line_start = True
        self._sources: list[str] = []

    def events(self, epoch: str, records: Sequence[Record]) -> list[bytes]:
        shown = (one.data for one in records if event_type(one.data) in _SHOWN)
        texts = [self._event(decode_record(data).event) for data in shown]
        return [text.encode() for text in texts if text]

    def _event(self, event: AnyEvent) -> str:
        match event:
            case e.TextMessageStart(role=None | "assistant", subagent_run_id=None):
                self._open.add(event.message_id)
            case e.TextMessageContent() if event.message_id in self._open:
                if event.delta:
                    self._line_start = event.delta.endswith("\n")
                return event.delta
            case e.TextMessageEnd() if event.message_id in self._open:
                self._open.discard(event.message_id)
                return self._end_line()
            case e.ActivitySnapshot():
                line = source_line(event)
                if line is not None and len(self._sources) < MOST:
                    self._sources.append(f"{line}\n")
            case e.RunFinished() | e.RunError():
                sources, self._sources = self._sources, []
                return "".join(sources) + _end(event)
            case e.MessageWithdrawn():
                return "[The message was taken back before it was answered.]\n"
            case _:
                pass
        return ""

    def _end_line(self) -> str:
        ended, self._line_start = self._line_start, True
        return "" if ended else "\n"

    def control(self, frame: f.ControlFrame) -> bytes | None:
        """The reply to a command, and errors. A broadcast is not part of the answer."""
        match frame:
            case f.Notice() if "command" in (frame.metadata or {}):
                return f"{frame.content}\n".encode()
            case f.Error():
                return (self._end_line() + _failed(frame.code, frame.message)).encode()
            case f.Bye():
                said = _failed(frame.reason, frame.message or "The connection was closed.")
                return (self._end_line() + said).encode()
            case _:
                return None

    def messages(self, parts: list[bytes]) -> list[bytes]:
        """All parts in one chunk."""
        return [b"".join(parts)]


def _end(event: e.RunFinished | e.RunError) -> str:
    match event:
        case e.RunFinished(outcome=CancelledOutcome()):
            return "[The answer was stopped.]\n"
        case e.RunFinished(outcome=InterruptOutcome(interrupts=asked)):
            return "".join(f"[The agent asks: {one.message or one.reason}]\n" for one in asked)
        case e.RunError():
            return _failed(event.code or "agent_error", event.message)
        case _:
            return ""


def _failed(code: str, message: str) -> str:
    return f"[{code}: {message}]\n"


_ENCODER: Final = LineEncoder()


def _line_encoder(context: EncoderContext) -> LineEncoder:
    return _ENCODER


def _text_encoder(context: EncoderContext) -> TextEncoder:
    return TextEncoder()


WIRE: Final = AskWire(
    name="agentws.lines",
    path="/ask",
    summary="Sends a message and streams its answer, as JSON lines or with Accept: text/plain",
    reads={
        "application/json": read_ask,
        "text/plain": read_text,
        # The type that curl -d sends by default. The body is not decoded as a form.
        "application/x-www-form-urlencoded": read_text,
    },
    formats=(
        AnswerFormat("application/x-ndjson", _line_encoder, keepalive=b"\n"),
        AnswerFormat("text/plain", _text_encoder),
    ),
)

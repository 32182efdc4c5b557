"""What a wire is made of. A wire is data: the pumps of ``agentws.transports`` know none by name.

An encoder turns records and control frames into bytes, a decoder turns what a client sends into
the structs of :mod:`agentws.protocol.frames`. Both are pure: no I/O, no clock, no random ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from .. import frames as f
from ..accept import preferred
from ..codec import Record


class Encoder(Protocol):
    """Serializes records and control frames for one connection; without state, for all of them."""

    def events(self, epoch: str, records: Sequence[Record]) -> list[bytes]:
        """The records as parts of messages. Adjacent deltas may be merged (coalescing)."""

    def control(self, frame: f.ControlFrame) -> bytes | None:
        """A control frame as one part; ``None`` if this wire does not show it."""

    def messages(self, parts: list[bytes]) -> list[bytes]:
        """``parts`` as messages of a WebSocket, or as chunks of a response body."""


class EncoderContext(NamedTuple):
    """What an encoder may know of the connection that it writes to."""

    session: str
    query: Mapping[str, str]
    """The query parameters of the request: a wire may have its own."""
    now: Callable[[int | None], str]
    """Milliseconds since the epoch, or ``None`` for this moment, as ISO 8601 in UTC."""


MakeEncoder = Callable[[EncoderContext], Encoder]


class Opening(NamedTuple):
    """What a reader is given before it follows the log."""

    snapshot: bool
    """``True``: a ``welcome``, then a replay from the client's position, or a snapshot if none is
    possible. ``False``: a replay only; without a position, new events only."""
    prime: bool
    """Whether the encoder first reads the part of a run that the client has already received:
    needed by an encoder that writes whole messages."""


class SocketWire(NamedTuple):
    """A wire over WebSocket. One message of the client is one command."""

    name: str
    subprotocol: str
    encoder: MakeEncoder
    decode: Callable[[str], f.AnyClientFrame]
    """The command in a message; raises BadRequest. A ``send`` without an id has ``frames.NO_ID``.
    """
    reply_to: Callable[[str], str | None]
    """The id that an error about this message names, even if the message can't be decoded."""
    opening: Opening
    binary_close_code: int
    """The code that closes the connection of a client that sends a binary message."""
    default: bool = False
    """Whether it serves clients that offer no subprotocol."""
    path: str = "/ws/chat"


class StreamWire(NamedTuple):
    """A wire over a streamed HTTP response that follows a session: ``GET {path}``."""

    name: str
    path: str
    """Below the prefix; it contains ``{id}``, the session's."""
    summary: str
    media_type: str
    """Without a charset: it is UTF-8, and is added to the header."""
    encoder: MakeEncoder
    opening: Opening
    preamble: bytes
    """The first bytes of the body."""
    keepalive: bytes
    """What is sent after some seconds of silence: proxies drop idle connections."""
    polled: MakeEncoder | None = None
    """Encodes the frames of a JSON answer to a poll; ``None`` if it can't be polled."""


class Question(NamedTuple):
    """A message and the session that it is for; ``None`` for a new session."""

    frame: f.Send
    session: str | None = None


class AnswerFormat(NamedTuple):
    """One form of the answer of an :class:`AskWire`, chosen by the ``Accept`` header."""

    media_type: str
    encoder: MakeEncoder
    keepalive: bytes = b""


class AskWire(NamedTuple):
    """A wire over plain HTTP: ``POST {path}`` sends a message and streams its answer."""

    name: str
    path: str
    summary: str
    reads: Mapping[str, Callable[[bytes], Question]]
    """Decodes a body, by its media type; raises BadRequest."""
    formats: Sequence[AnswerFormat]
    """The first one is the default."""

    def format_for(self, accept: str) -> AnswerFormat:
        """The format that an ``Accept`` header prefers; the default if it accepts none."""
        by_type = {one.media_type: one for one in self.formats}
        return by_type[preferred(accept, list(by_type))]


FollowWire = SocketWire | StreamWire
"""A wire whose readers follow a session from a position on."""
Wire = FollowWire | AskWire

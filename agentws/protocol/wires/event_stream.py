"""The native wire as server-sent events (SSE): each event frame is one event, its position the id.

A browser's ``EventSource`` reconnects by itself and sends that id as ``Last-Event-ID``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .. import frames as f
from ..codec import Record
from .native import NativeEncoder, native_encoder
from .wire import EncoderContext, Opening, StreamWire


class EventStreamEncoder(NativeEncoder):
    """Stateless. A part is one event of the stream, with the empty line that ends it."""

    __slots__ = ()

    def events(self, epoch: str, records: Sequence[Record]) -> list[bytes]:
        """One event per frame.

        Of several frames at one position only the last has the id. So a client that loses the
        connection in the middle of a snapshot reconnects with its old position, and gets all of it.
        """
        frames = super().events(epoch, records)
        if len(frames) > 1 and records[0].seq == records[-1].seq:
            return [*(b"data: %b\n\n" % frame for frame in frames[:-1]), stream_event(frames[-1])]
        return [stream_event(frame) for frame in frames]

    def control(self, frame: f.ControlFrame) -> bytes | None:
        """A named event without an id: only events of the log are plain messages."""
        name = str(frame.__struct_config__.tag)
        return b"event: %b\ndata: %b\n\n" % (name.encode(), f.encode_frame(frame))

    def messages(self, parts: list[bytes]) -> list[bytes]:
        """All parts in one chunk."""
        return [b"".join(parts)]


_ID: Final = len(b'{"id":"')


def stream_event(frame: bytes) -> bytes:
    """An event frame as one event; it begins with its position, which needs no escapes."""
    # JSON has no raw line breaks, so a frame is one data line.
    return b"id: %b\ndata: %b\n\n" % (frame[_ID : frame.index(b'"', _ID)], frame)


_ENCODER: Final = EventStreamEncoder()


def _encoder(context: EncoderContext) -> EventStreamEncoder:
    return _ENCODER


WIRE: Final = StreamWire(
    name=f.NATIVE,
    path="/sessions/{id}/events",
    summary="The session's events, as a stream, or by polling with Accept: application/json",
    media_type="text/event-stream",
    encoder=_encoder,
    opening=Opening(snapshot=True, prime=False),
    preamble=b"retry: 1000\n\n",
    keepalive=b": ping\n\n",
    polled=native_encoder,
)

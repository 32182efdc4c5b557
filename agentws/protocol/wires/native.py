"""The native wire, ``agentws.v1``: event frames with positions, several of them in one message.

Its frames are specified in :mod:`agentws.protocol.frames`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .. import frames as f
from ..codec import Record, event_frames, join_frames
from ..frame_ids import frame_id
from ..merge import merge
from .wire import EncoderContext, Opening, SocketWire

BACKLOG: Final = 8
"""A reader with more unread events than this has a backlog: it gets adjacent deltas merged
(coalescing). Writers batch their appends, so it is a slow consumer, or one that reconnects."""


class NativeEncoder:
    """Stateless: one encoder serves all connections."""

    __slots__ = ()

    def events(self, epoch: str, records: Sequence[Record]) -> list[bytes]:
        """One frame per event; in a backlog, adjacent deltas of one message are one frame."""
        return event_frames(epoch, merge(records) if len(records) > BACKLOG else records)

    def control(self, frame: f.ControlFrame) -> bytes | None:
        return f.encode_frame(frame)

    def messages(self, parts: list[bytes]) -> list[bytes]:
        """All parts in one message."""
        return [join_frames(parts)]


_ENCODER: Final = NativeEncoder()


def native_encoder(context: EncoderContext) -> NativeEncoder:
    """The encoder of every native connection."""
    return _ENCODER


WIRE: Final = SocketWire(
    name=f.NATIVE,
    subprotocol=f.NATIVE,
    encoder=native_encoder,
    decode=f.decode_client_frame,
    reply_to=frame_id,
    opening=Opening(snapshot=True, prime=False),
    binary_close_code=4400,
)

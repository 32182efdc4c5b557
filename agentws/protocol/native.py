"""The native wire as a writer: event frames with positions, several of them in one message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from . import events as e
from . import frames as f
from .codec import Record, encode_event, event_frames, join_frames
from .merge import merge
from .messages import Message
from .notices import NOTICES, Posted, notices_for
from .position import Position

LATE: Final = 8
"""Events at once that only a reader who was away or is slow gets: writers gather their own."""


class NativeWire:
    """``agentws.v1``: a stateless encoder, one for all connections."""

    __slots__ = ()

    def events(self, epoch: str, records: Sequence[Record]) -> list[bytes]:
        """The frames of these events; who is late gets adjacent deltas of one message as one."""
        return event_frames(epoch, merge(records) if len(records) > LATE else records)

    def control(self, frame: f.ControlFrame) -> bytes | None:
        return f.encode_frame(frame)

    def messages(self, parts: list[bytes]) -> list[bytes]:
        """The WebSocket messages that carry ``parts``: one."""
        return [join_frames(parts)]


def snapshot_frames(
    position: Position,
    *,
    messages: list[Message],
    state: object,
    queued: Sequence[e.MessageAccepted],
    notices: Sequence[Posted] = (),
    extras: Mapping[str, Any],
) -> list[bytes]:
    """A session as of ``position``, in event frames outside any run that all stand there.

    ``notices`` and ``extras`` are what AG-UI has no place for: they ride in the snapshot's
    metadata.
    """
    told = {NOTICES: notices_for(position.epoch, notices), **extras}
    known = {name: value for name, value in told.items() if value}
    metadata = {"agentws": known} if known else None
    events: list[e.Event] = [e.MessagesSnapshot(messages, metadata=metadata)]
    if state is not None:
        events.append(e.StateSnapshot(state))
    events += queued
    records = [Record(position.seq, position.tag, encode_event(event)) for event in events]
    return event_frames(position.epoch, records)

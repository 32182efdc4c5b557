"""The encoders of a topic that is followed over HTTP: native frames, each with the topic.

They are no entries of the table of wires: a topic is no session.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..codec import Record
from ..topics import topic_frames
from . import event_stream
from .event_stream import EventStreamEncoder, stream_event
from .native import NativeEncoder

PATH: Final = "/topics/{id}/events"
"""``id`` is the name of the topic."""
MEDIA_TYPE: Final = event_stream.WIRE.media_type
PREAMBLE: Final = event_stream.WIRE.preamble
KEEPALIVE: Final = event_stream.WIRE.keepalive


class PolledTopicEncoder(NativeEncoder):
    """Frames for the JSON answer to a poll."""

    __slots__ = ("_topic",)

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def events(self, epoch: str, records: Sequence[Record]) -> list[bytes]:
        """One frame per event."""
        return topic_frames(self._topic, epoch, records)


class TopicStreamEncoder(EventStreamEncoder):
    """Server-sent events."""

    __slots__ = ("_topic",)

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def events(self, epoch: str, records: Sequence[Record]) -> list[bytes]:
        """One event per frame; its id is the position in the topic."""
        return [stream_event(frame) for frame in topic_frames(self._topic, epoch, records)]

"""Durable notices beside messages: AG-UI has no message for them.

In a snapshot they ride in its metadata, in a page of messages they are a member of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from . import events as e
from .messages import Metadata, Wire
from .position import Position

NOTICES: Final = "notices"
"""Their member in ``metadata.agentws`` of the ``MESSAGES_SNAPSHOT``."""


class Posted(NamedTuple):
    """A notice that stands in a log, and the id of the message shown before it, if one is."""

    seq: int
    tag: str
    event: e.NoticePosted
    after: str | None


class SnapshotNotice(Wire, frozen=True):
    """The same on the wire. ``position`` is the ``id`` that its event frame had."""

    position: str
    content: str
    level: e.Level
    after: str | None = None
    timestamp: int | None = None
    metadata: Metadata | None = None

    @property
    def event(self) -> e.NoticePosted:
        return e.NoticePosted(
            self.content, self.level, timestamp=self.timestamp, metadata=self.metadata
        )


def notices_for(epoch: str, posted: Iterable[Posted]) -> list[SnapshotNotice]:
    return [
        SnapshotNotice(
            str(Position(epoch, seq, tag)),
            event.content,
            event.level,
            after,
            event.timestamp,
            event.metadata,
        )
        for seq, tag, event, after in posted
    ]


def notices_in(snapshot: e.MessagesSnapshot) -> list[SnapshotNotice]:
    """What a server told of with ``snapshot``; nothing where it is not understood."""
    told: Any = (snapshot.metadata or {}).get("agentws")
    found = told.get(NOTICES, []) if isinstance(told, dict) else []
    try:
        return msgspec.convert(found, list[SnapshotNotice])
    except msgspec.ValidationError:
        return []

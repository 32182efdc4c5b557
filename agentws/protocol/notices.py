"""Durable notices in snapshots and pages. AG-UI has no message type for them.

In a ``MESSAGES_SNAPSHOT`` they are in its metadata; in a page of messages they are a member.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from . import events as e
from .messages import Metadata, Wire
from .position import Position

NOTICES: Final = "notices"
"""The member of ``metadata.agentws`` that holds them in a ``MESSAGES_SNAPSHOT``."""


class Posted(NamedTuple):
    """A notice in a log; ``after`` is the id of the message before it, if there is one."""

    seq: int
    tag: str
    event: e.NoticePosted
    after: str | None


class SnapshotNotice(Wire, frozen=True):
    """A posted notice on the wire. ``position`` is the ``id`` of its event frame."""

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
    """The notices in the metadata of ``snapshot``; empty when they can't be decoded."""
    extras: Any = (snapshot.metadata or {}).get("agentws")
    found = extras.get(NOTICES, []) if isinstance(extras, dict) else []
    try:
        return msgspec.convert(found, list[SnapshotNotice])
    except msgspec.ValidationError:
        return []

"""A snapshot of a session as records: the state of the conversation instead of its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from . import events as e
from .codec import Record, encode_event
from .messages import Message
from .notices import NOTICES, Posted, notices_for
from .position import Position


def snapshot_records(
    position: Position,
    *,
    messages: list[Message],
    state: object,
    queued: Sequence[e.MessageAccepted],
    notices: Sequence[Posted] = (),
    extras: Mapping[str, Any],
) -> list[Record]:
    """A session as of ``position``, as events outside any run that all have this position.

    ``notices`` and ``extras`` have no event in AG-UI: they are in the metadata of the first one.
    """
    told = {NOTICES: notices_for(position.epoch, notices), **extras}
    known = {name: value for name, value in told.items() if value}
    metadata = {"agentws": known} if known else None
    events: list[e.Event] = [e.MessagesSnapshot(messages, metadata=metadata)]
    if state is not None:
        events.append(e.StateSnapshot(state))
    # Any other overlap would change their order.
    events += [msgspec.structs.replace(one, overlap="queue") for one in queued]
    return [Record(position.seq, position.tag, encode_event(event)) for event in events]

"""What :meth:`Chat.watch` yields, besides frames of the wire."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ..protocol.events import AnyEvent
from ..protocol.frames import Error, Notice, Presence

ConnectionState = Literal["connecting", "open", "reconnecting", "closed"]


class LogEvent(NamedTuple):
    """An event of the session's log. ``position`` is where to resume after it; ``run`` is the id of
    the run that it belongs to."""

    position: str
    run: str | None
    event: AnyEvent


class LogReset(NamedTuple):
    """Drop everything that was received before: a snapshot follows.

    ``reason`` is that of the ``welcome`` frame: why the position could not be continued. With
    ``lost`` or ``epoch``, and an empty snapshot, the server no longer has the conversation.
    """

    reason: str | None


class ConnectionChange(NamedTuple):
    """The state of the connection changed. In the state ``reconnecting``, the next attempt follows
    after ``delay`` seconds, and ``why`` is a sentence that says what ended the last connection."""

    state: ConnectionState
    delay: float = 0.0
    why: str = ""


Update = LogEvent | LogReset | ConnectionChange | Notice | Presence | Error

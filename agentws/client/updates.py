"""What a chat tells those who watch it, besides the frames of the wire."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ..protocol.events import AnyEvent
from ..protocol.frames import Error, Notice

ConnectionState = Literal["connecting", "open", "reconnecting", "closed"]


class LogEvent(NamedTuple):
    """An event of the session's log; ``position`` is where to resume after it."""

    position: str
    run: str | None
    event: AnyEvent


class LogReset(NamedTuple):
    """Everything that was received before is void; the log follows anew, from a snapshot.

    ``reason`` is the ``welcome`` frame's: why the position could not be continued from. With
    ``lost`` or ``epoch`` and a snapshot that is empty, the server no longer has the conversation.
    """

    reason: str | None


class ConnectionChange(NamedTuple):
    """The connection is in another state. While ``reconnecting``: the next attempt is made in
    ``delay`` seconds, and ``why`` says in a sentence what ended the last one."""

    state: ConnectionState
    delay: float = 0.0
    why: str = ""


Update = LogEvent | LogReset | ConnectionChange | Notice | Error

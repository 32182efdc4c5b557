"""What the host's own code gives, checked where it comes in.

A log is read by every client and every node for as long as it is kept. So a value that can't be
written, or can't be read back, is a TypeError for the code that gave it, and never gets there.
"""

from __future__ import annotations

from typing import Final

from .errors import InvalidEvent
from .protocol import events as e
from .protocol.events import Event
from .protocol.messages import Metadata
from .runs.checking import check_event, check_title
from .runs.work import now_ms

_NOTICE: Final = (
    "content: str, level: 'info', 'warning' or 'error', metadata: a dict of JSON values or None"
)
_UPDATE: Final = "title: str or None, metadata: a dict of JSON values or None"


def given_notice(content: str, level: e.Level, metadata: Metadata | None) -> e.NoticePosted:
    """What is said by a push or a broadcast; raises TypeError."""
    notice = e.NoticePosted(content, level, timestamp=now_ms(), metadata=metadata)
    if not isinstance(content, str):
        # Bytes would be written in base64.
        raise TypeError(f"this notice is {type(content).__name__}; expected {_NOTICE}")
    _check(notice, "this notice", _NOTICE)
    return notice


def given_update(title: str | None, metadata: Metadata | None) -> e.SessionUpdated:
    """The new title or metadata of a session; raises TypeError, and EventTooLarge for the title."""
    update = e.SessionUpdated(title, None, timestamp=now_ms(), metadata=metadata)
    _check(update, "this change of a session", _UPDATE)
    if title is not None:
        check_title(title)
    return update


def _check(event: Event, what: str, expected: str) -> None:
    try:
        check_event(event)
    except InvalidEvent as error:
        raise TypeError(f"{what} does not fit: {error.__cause__}; expected {expected}") from error

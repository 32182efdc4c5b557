"""What the host's own code gives, checked where it comes in.

A log is read by every client and every node for as long as it is kept. So a value that can't be
written, or can't be read back, is a TypeError for the code that gave it, and never gets there.
"""

from __future__ import annotations

from typing import Final, TypeVar, cast

import msgspec

from ..errors import InvalidEvent
from ..protocol import events as e
from ..protocol.codec import decode_event
from ..protocol.messages import Metadata
from ..runs.checking import check_event, check_title
from ..runs.leased import now_ms

Given = TypeVar("Given", e.NoticePosted, e.SessionUpdated)

_NOTICE: Final = (
    "content: str, level: 'info', 'warning' or 'error', metadata: a dict of JSON values or None"
)
_UPDATE: Final = "title: str or None, metadata: a dict of JSON values or None"


def given_notice(content: str, level: e.Level, metadata: Metadata | None) -> e.NoticePosted:
    """What is said by a push or a broadcast; raises TypeError."""
    if not isinstance(content, str):
        # Bytes would be written in base64.
        raise TypeError(f"this notice is {type(content).__name__}; expected {_NOTICE}")
    notice = e.NoticePosted(_plain(content), level, timestamp=now_ms(), metadata=metadata)
    return _kept(notice, "this notice", _NOTICE)


def given_update(title: str | None, metadata: Metadata | None) -> e.SessionUpdated:
    """The new title or metadata of a session; raises TypeError, and EventTooLarge for the title."""
    title = _plain(title) if isinstance(title, str) else title
    update = e.SessionUpdated(title, None, timestamp=now_ms(), metadata=metadata)
    kept = _kept(update, "this change of a session", _UPDATE)
    if kept.title is not None:
        check_title(kept.title)
    return kept


def _plain(text: str) -> str:
    """``text`` without the subclass that it may be of: safe strings of template engines, enums."""
    return str.__str__(text)


def _kept(event: Given, what: str, expected: str) -> Given:
    """``event`` as a log gives it back: what its metadata holds may still be changed by the host,
    or be of a type that is written as another one.
    """
    try:
        check_event(event)
    except InvalidEvent as error:
        raise TypeError(f"{what} does not fit: {error.__cause__}; expected {expected}") from error
    return cast("Given", decode_event(msgspec.json.encode(event)))

"""Validation of the values that the host's own code passes in, before they reach a log.

Every client and every node reads a log for as long as it is kept. So a value that can't be encoded,
or can't be decoded again, is a TypeError for the code that passed it, and is never appended.
"""

from __future__ import annotations

import math
import re
from typing import Final, TypeVar, cast

import msgspec
from msgspec import UNSET, UnsetType

from ..auth import check_key
from ..bus import Bus
from ..errors import BadRequest, InvalidEvent
from ..limits import Limits
from ..protocol import events as e
from ..protocol.codec import decode_event
from ..protocol.frames import check_id
from ..protocol.messages import Metadata
from ..protocol.text import plain
from ..runs.ids import now_ms
from ..runs.validation import check_title, checked_event
from ..store import Store

EventT = TypeVar("EventT", e.NoticePosted, e.SessionUpdated)

_NOTICE: Final = (
    "content: str, level: 'info', 'warning' or 'error', metadata: a dict of JSON values or None"
)
_UPDATE: Final = (
    "title: str or None, metadata: a dict of JSON values or None, retention: seconds or None"
)
_NODE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def check_node(name: str | None) -> None:
    """Raises ValueError for a name of a node that is not plain: it is shown in logs."""
    if name is not None and not (isinstance(name, str) and _NODE.fullmatch(name)):
        raise ValueError(f"the node is {name!r}; expected 1 to 64 of A-Z a-z 0-9 _ . : -")


def check_parts(*, store: object, bus: object, limits: object, admin_key: object) -> None:
    """Raises TypeError for an option of another type, ValueError for a key that none can send.

    They are used much later, some by a first client only. A class in place of its instance is the
    common mistake.
    """
    for name, value, kind, example in (
        ("store", store, Store, "SQLiteStore('chat.sqlite3')"),
        ("bus", bus, Bus, "LocalBus()"),
        ("limits", limits, Limits, "Limits(max_queued=3)"),
    ):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} is {value!r:.100}; expected a {kind.__name__}, as {example}")
    if admin_key is not None:
        check_key("admin_key", admin_key)


def checked_notice(content: str, level: e.Level, metadata: Metadata | None) -> e.NoticePosted:
    """The notice of a push or a broadcast; raises TypeError."""
    if not isinstance(content, str):
        # msgspec would encode bytes as base64 and not refuse them.
        raise TypeError(f"this notice is {type(content).__name__}; expected {_NOTICE}")
    notice = e.NoticePosted(plain(content), level, timestamp=now_ms(), metadata=metadata)
    return _checked(notice, "this notice", _NOTICE)


def checked_update(
    title: str | None,
    metadata: Metadata | None,
    retention: float | UnsetType | None = UNSET,
) -> e.SessionUpdated:
    """The new values of a session; raises TypeError, and EventTooLarge for the title."""
    if title is not None:
        if not isinstance(title, str):
            # msgspec would encode bytes as base64, and an enum or a UUID as text.
            raise TypeError(f"this title is {type(title).__name__}; expected {_UPDATE}")
        title = plain(title)
    if retention not in (UNSET, None) and not _is_duration(retention):
        raise TypeError(f"this retention is {retention!r}; expected seconds above 0, or None")
    update = e.SessionUpdated(title, None, retention, timestamp=now_ms(), metadata=metadata)
    checked = _checked(update, "this change of a session", _UPDATE)
    if checked.title is not None:
        check_title(checked.title)
    return checked


def _is_duration(value: object) -> bool:
    """Whether it is a number of seconds. JSON would take infinity for ``None``, and true for 1."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 < value < math.inf


def checked_key(key: str | None) -> str | None:
    """An idempotency key as an exact ``str``; raises BadRequest for one that can't be stored."""
    check_id(key)
    if key is None:
        return None
    if not is_storable(key):
        raise BadRequest(f"The key {key!r} is not valid.", expected="text without lone surrogates")
    return plain(key)


def is_storable(id: str) -> bool:
    """Whether a store could have an id of this text."""
    try:
        id.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in id


def _checked(event: EventT, what: str, expected: str) -> EventT:
    """``event`` as it is read back from a log; raises TypeError.

    It is a copy, since the host may still change its metadata in place. Its values have JSON's
    types: values of other types may have been encoded as one of these.
    """
    try:
        event = checked_event(event)[0]
    except InvalidEvent as error:
        raise TypeError(f"{what} is not valid: {error.__cause__}; expected {expected}") from error
    return cast("EventT", decode_event(msgspec.json.encode(event)))

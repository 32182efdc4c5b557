"""Positions: where a reader stands in a log, and proof of what it has read.

``"<epoch>.<seq>.<tag>"``. The epoch names one incarnation of the log, ``seq`` one event in it, and
the tag is a chained hash of the log up to and including that event: two logs that share a tag share
their whole past. So an old position never silently matches another history.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec

from ..errors import BadRequest

GENESIS: Final = ""
"""The tag before the first event."""

_FORM = re.compile(r"([A-Za-z0-9_-]{1,32})\.(0|[1-9][0-9]{0,15})\.([0-9a-f]{16}|)")


class Position(msgspec.Struct, frozen=True, gc=False):
    """A place in one log; ``str()`` gives its wire form. ``seq`` 0 is before the first event."""

    epoch: str
    seq: int
    tag: str

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}.{self.tag}"


def parse_position(text: str) -> Position:
    """The position written as ``text``; raises BadRequest when it has another form."""
    position = read_position(text)
    if position is None:
        raise BadRequest(
            "This is not a position.", expected='"<epoch>.<seq>.<tag>" as the server sent it'
        )
    return position


def read_position(text: str) -> Position | None:
    """The position written as ``text``, or ``None`` when it has another form.

    For what a client kept: its storage may have cut it off, or another version may have written it.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    epoch, seq, tag = match.groups()
    position = Position(epoch, int(seq), tag)
    # Only the place before the first event has no tag: anything else was cut off at its last dot.
    return position if (position.seq == 0) == (tag == GENESIS) else None


def chain(tag: str, seq: int, data: bytes) -> str:
    """The tag of the event ``data`` at ``seq`` when ``tag`` is that of the event before it.

    64 bits of SHA-1 over ``tag|seq|data``: every store can compute it, Redis scripts included.
    It guards against accident (a lost tail, a restored backup), not against forgery.
    """
    return hashlib.sha1(b"%b|%d|%b" % (tag.encode(), seq, data)).hexdigest()[:16]

"""Positions: an offset in a log that also proves which history it belongs to.

Written ``"<epoch>.<seq>.<tag>"``. The epoch identifies one incarnation of the log and ``seq`` one
event in it. The tag is a hash chain over the log up to and including that event, so two logs with
the same tag have the same past. A position of a lost or restored log never matches another history.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha1
from typing import Final

import msgspec

from ..errors import BadRequest

GENESIS: Final = ""
"""The tag before the first event."""

_FORM = re.compile(r"([A-Za-z0-9_-]{1,32})\.(0|[1-9][0-9]{0,15})\.([0-9a-f]{16}|)")


class Position(msgspec.Struct, frozen=True, gc=False):
    """An offset in one log. ``str()`` gives its wire form. ``seq`` 0 is before the first event."""

    epoch: str
    seq: int
    tag: str

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}.{self.tag}"


def parse_position(text: str) -> Position:
    """The position that ``text`` encodes. Raises BadRequest when it is malformed."""
    position = read_position(text)
    if position is None:
        raise BadRequest(
            "This is not a position.", expected='"<epoch>.<seq>.<tag>" as the server sent it'
        )
    return position


def read_position(text: str) -> Position | None:
    """The position that ``text`` encodes; ``None`` when it is malformed.

    For positions that a client stored: they may be truncated, or written by another version.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    epoch, seq, tag = match.groups()
    position = Position(epoch, int(seq), tag)
    # Only the position before the first event has no tag: any other was truncated at the last dot.
    return position if (position.seq == 0) == (tag == GENESIS) else None


def chain(tag: str, seq: int, data: bytes) -> str:
    """The tag of the event ``data`` at ``seq``; ``tag`` is the tag of the event before it.

    64 bits of SHA-1 over ``tag|seq|data``, which every store can compute, a Redis script too.
    It detects accidents (a lost end of the log, a restored backup), not forgery.
    """
    return chain_all(tag, seq - 1, [data])[0]


def chain_all(tag: str, seq: int, datas: Iterable[bytes]) -> list[str]:
    """The tags of the events ``datas``, which follow the event with ``tag`` at ``seq``.

    As :func:`chain`, in one loop: a run appends several events at once.
    """
    tags: list[str] = []
    for data in datas:
        seq += 1
        hashed = b"%b|%d|%b" % (tag.encode(), seq, data)
        tag = sha1(hashed, usedforsecurity=False).hexdigest()[:16]
        tags.append(tag)
    return tags

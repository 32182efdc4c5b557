"""The id of a client frame that can't be decoded, so that the error can name it."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from .frames import MAX_ID


class _Identified(msgspec.Struct):
    id: str


_identified: Final = msgspec.json.Decoder(_Identified)
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""An escape in JSON: a surrogate pair, half of one (the group), or anything else."""


def frame_id(data: bytes | str) -> str | None:
    """The ``id`` of a frame that can't be decoded, so that the error can name it.

    The usual cause is a text that was cut in the middle of a surrogate pair.
    """
    text = data.encode(errors="replace") if isinstance(data, str) else data
    found = _id_in(text)
    if found is None and b"\\u" in text:
        found = _id_in(_ESCAPE.sub(_whole, text))
    return found


def _id_in(data: bytes) -> str | None:
    try:
        found = _identified.decode(data).id
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return found if len(found) <= MAX_ID else None


def _whole(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape[1] else escape[0]

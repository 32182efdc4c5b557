"""The title of a session that is named by a text: one line, cut at a word."""

from __future__ import annotations

import unicodedata
from typing import Final

import msgspec

from .cutting import boundary

_READ: Final = 4000
"""Characters of the text that are looked at: a message may have megabytes."""
_SHORTEST: Final = 9
_ELLIPSIS: Final = "…"
_NOT_TEXT: Final = frozenset({"Cc", "Cs"})
"""Control characters, and surrogates, which can't be sent."""
_BIDI: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They would change the direction of what a page shows after the title."""


def title_from(text: str, *, length: int) -> str | None:
    """``text`` as a title of at most ``length`` characters (9 or more); ``None`` if it is blank."""
    line = " ".join("".join(map(_shown, text[:_READ])).split())
    length = max(length, _SHORTEST)
    if len(line) <= length:
        return line or None
    word = line.rfind(" ", length // 2, length)
    kept = line[:word] if word != -1 else _cut(line, length - 1)
    return kept.rstrip(" ,;:-–—") + _ELLIPSIS


def _shown(char: str) -> str:
    control = unicodedata.category(char) in _NOT_TEXT and not char.isspace()
    return "" if control or char in _BIDI else char


def _cut(line: str, at: int) -> str:
    """The first ``at`` characters of a line without spaces, with no grapheme cluster divided."""
    encoded, prefix = (msgspec.json.encode(part)[1:-1] for part in (line, line[:at]))
    end = boundary(encoded, 0, len(prefix))
    return msgspec.json.decode(b'"%b"' % encoded[:end], type=str)

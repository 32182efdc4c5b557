"""Where a long text may be cut: between grapheme clusters, or at the end of a word or paragraph.

Works on the inside of an encoded JSON string, since sizes are counted in bytes as sent. Never cuts
a code point or an escape sequence. ``\\r\\n``, a letter with its accents, and an emoji with its
modifiers stay together, up to ``_MOST`` code points.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_MOST: Final = 64
"""The most code points that are kept together: a text may stack accents without limit."""
_BACKSLASH: Final = 0x5C
_U: Final = 0x75
_JOINER: Final = "\u200d"
_BREAKS: Final = (b"\\n\\n", b"\\r\\n\\r\\n", b"\\n", b" ")
"""Ends of paragraphs, lines and words, in order of preference."""


def boundary(text: bytes, start: int, end: int) -> int:
    """The last boundary between two characters in ``text[start:end + 1]``, after ``start``.

    ``text`` is the inside of an encoded JSON string. ``start`` must be a boundary, and ``end`` at
    least 8 bytes after it.
    """
    if end >= len(text):
        return len(text)
    last = at = _whole(text, start, end)
    for _ in range(_MOST):
        before = _unit_before(text, start, at)
        if before == start:
            break
        if not _joined(text, start, before, at):
            return at
        at = before
    return last


def word_boundary(text: bytes, start: int, end: int) -> int:
    """Like :func:`boundary`, but if possible the end of a paragraph, a line or a word.

    Only one in the second half of the range counts, so that parts are not too small.
    """
    if end >= len(text):
        return len(text)
    for mark in _BREAKS:
        at = text.rfind(mark, start + (end - start) // 2, end)
        # A backslash that is escaped itself, followed by an n, is not a line break.
        if at >= 0 and _whole(text, start, at) == at:
            return at + len(mark)
    return boundary(text, start, end)


def _whole(text: bytes, start: int, end: int) -> int:
    """The last index up to ``end`` that is not inside a code point or an escape."""
    while end > start and text[end] & 0xC0 == 0x80:
        end -= 1
    for at in range(max(start, end - 5), end):
        if at + _escape(text, start, at) > end:
            return at
    return end


def _escape(text: bytes, start: int, at: int) -> int:
    """The length of the escape sequence that begins at ``at``; 0 when none does."""
    if text[at] != _BACKSLASH:
        return 0
    # Not a loop in Python: a hostile text may consist of backslashes.
    before = text[start:at]
    if (len(before) - len(before.rstrip(b"\\"))) % 2:
        return 0
    return 6 if text[at + 1] == _U else 2


def _unit_before(text: bytes, start: int, end: int) -> int:
    """The index where the code point or escape that ends at ``end`` begins."""
    for length in (2, 6):
        at = end - length
        if at >= start and _escape(text, start, at) == length:
            return at
    at = end - 1
    while at > start and text[at] & 0xC0 == 0x80:
        at -= 1
    return at


def _unit_at(text: bytes, start: int, at: int) -> bytes:
    """The code point or escape that begins at ``at``."""
    end = at + (_escape(text, start, at) or 1)
    while end < len(text) and text[end] & 0xC0 == 0x80:
        end += 1
    return text[at:end]


def _joined(text: bytes, start: int, before: int, at: int) -> bool:
    """Whether the unit at ``at`` belongs to the same grapheme cluster as that at ``before``."""
    one, other = text[before:at], _unit_at(text, start, at)
    if one.startswith(b"\\") or other.startswith(b"\\"):
        return (one, other) == (b"\\r", b"\\n")
    if other.isascii():
        return False
    left, right = one.decode(), other.decode()
    if _is_flag(right) and _is_flag(left):
        return _flags_before(text, start, at) % 2 == 1
    return left == _JOINER or right == _JOINER or _extends(right)


def _extends(char: str) -> bool:
    """Whether ``char`` modifies the one before it: accents, skin tones, letters of a flag's tag."""
    tone_or_tag = "\U0001f3fb" <= char <= "\U0001f3ff" or "\U000e0020" <= char <= "\U000e007f"
    return tone_or_tag or unicodedata.category(char).startswith("M")


def _is_flag(char: str) -> bool:
    """Whether ``char`` is a regional indicator: two of them are one flag."""
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _flags_before(text: bytes, start: int, at: int) -> int:
    count = 0
    while count < _MOST and at > start:
        before = _unit_before(text, start, at)
        char = text[before:at]
        if len(char) != 4 or not _is_flag(char.decode()):
            break
        count, at = count + 1, before
    return count

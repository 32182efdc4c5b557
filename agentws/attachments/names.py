"""Names of files: text for people, cleaned of what could deceive them or a program."""

from __future__ import annotations

import unicodedata
from typing import Final

MAX_BYTES: Final = 200
"""Bytes of a name in UTF-8. File systems allow 255, and browsers append `` (1)``."""
MAX_SUFFIX: Final = 20
"""Characters of a name's suffix that a shortened name keeps."""
DEFAULT: Final = "file"

_REMOVED: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of Unicode: controls, lone surrogates, breaks of lines and paragraphs."""
_DIRECTIONS: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
"""Controls of the writing direction: with them a program's name may look like an image's."""
_FORBIDDEN: Final = frozenset('<>:"|?*')
"""Characters that no name on Windows can have."""


def clean_name(name: str | None) -> str:
    """``name`` without folders, control characters and other traps; ``file`` if nothing is left.

    Letters of every script and emoji stay. The result has at most ``MAX_BYTES`` bytes.
    """
    last = (name or "").replace("\\", "/").rstrip("/ ").rpartition("/")[2]
    shown = "".join(
        "_" if char in _FORBIDDEN else char
        for char in unicodedata.normalize("NFC", last)
        if unicodedata.category(char) not in _REMOVED and char not in _DIRECTIONS
    )
    return _shortened(" ".join(shown.split()).strip(". ")) or DEFAULT


def _shortened(name: str) -> str:
    if len(name.encode()) <= MAX_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix) > MAX_SUFFIX:
        stem, dot, suffix = name, "", ""
    room = MAX_BYTES - len(f"{dot}{suffix}".encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip() + dot + suffix

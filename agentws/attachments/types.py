"""Recognizes the type of a file by its content. The only file that knows puremagic.

The name, and the type that a client declares, choose only among the types that the content allows:
a ``.docx`` is a zip archive by content, and only its name tells which kind of archive it is. They
never make a file something that its content is not.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Sequence
from typing import Final

import puremagic

HEAD: Final = 4096
"""Bytes from the beginning of a file that its type is recognized by."""
BINARY: Final = "application/octet-stream"
TEXT: Final = "text/plain"
ANY: Final = "*/*"

_ALIASES: Final = {
    "application/x-gzip": "application/gzip",
    "application/x-zip-compressed": "application/zip",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "image/jpg": "image/jpeg",
    "image/x-ms-bmp": "image/bmp",
    "text/ascii": "text/plain",
}
_ZIP: Final = "application/zip"
_WEAK: Final = 0.4
"""A confidence below which plain text is not taken for a binary format."""
_TEXTUAL: Final = frozenset(
    {
        "application/javascript",
        "application/json",
        "application/toml",
        "application/x-sh",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
        "image/svg+xml",
    }
)
"""Types besides ``text/*`` whose files are plain text."""
_CONTROLS: Final = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b\b")


def type_of(head: bytes, *, name: str = "", declared: str | None = None) -> str:
    """The type of a file that begins with ``head``, its first ``HEAD`` bytes, in lower case."""
    found = dict(_candidates(head))
    hints = [hint for hint in (_by_name(name), plain_type(declared)) if hint is not None]
    for hint in hints:
        if hint in found:
            return hint
    if _is_text(head):
        strong = [kind for kind, confidence in found.items() if confidence >= _WEAK]
        if strong:
            return strong[0]
        textual = (hint for hint in hints if hint.startswith("text/") or hint in _TEXTUAL)
        return next(textual, TEXT)
    if _ZIP in found:
        return _ZIP
    return next(iter(found), BINARY)


def check_patterns(patterns: Sequence[str]) -> None:
    """Raises TypeError for a text instead of several, ValueError for one that matches no type."""
    if isinstance(patterns, str):
        raise TypeError(f"file_types is {patterns!r}; expected a tuple, as in ({patterns!r},)")
    for pattern in patterns:
        main, _, sub = pattern.partition("/")
        named = f"{main}/{'x' if sub == '*' else sub}"
        if pattern != ANY and plain_type(named) != named:
            raise ValueError(
                f"{pattern!r} is not a type of files; expected one such as image/png, image/*, */*"
            )


def accepts(patterns: Sequence[str], kind: str) -> bool:
    """Whether one of ``patterns`` (``image/png``, ``image/*``, ``*/*``) matches the type."""
    main = kind.partition("/")[0]
    return any(pattern in (ANY, kind, f"{main}/*") for pattern in patterns)


def _candidates(head: bytes) -> Iterator[tuple[str, float]]:
    """The types that the content may be, the likeliest first, with puremagic's confidence."""
    if not head:
        return
    try:
        matches = puremagic.magic_string(head)
    except puremagic.PureError:
        return
    seen = set()
    for match in matches:
        kind = plain_type(match.mime_type)
        if kind is not None and kind not in seen:
            seen.add(kind)
            yield kind, match.confidence


def _by_name(name: str) -> str | None:
    return plain_type(mimetypes.guess_type(name, strict=False)[0])


def plain_type(kind: str | None) -> str | None:
    """A type without parameters, in its usual spelling; ``None`` if it is not one."""
    text = (kind or "").partition(";")[0].strip().lower()
    main, slash, sub = text.partition("/")
    if not (slash and _is_token(main) and _is_token(sub)):
        return None
    return _ALIASES.get(text, text)


def _is_token(text: str) -> bool:
    return (
        0 < len(text) <= 100
        and text.isascii()
        and text.replace("-", "").replace(".", "").replace("+", "").replace("_", "").isalnum()
    )


def _is_text(head: bytes) -> bool:
    if _CONTROLS.intersection(head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # A character may be cut where the head ends.
        return len(head) >= HEAD and error.start >= len(head) - 3
    return True

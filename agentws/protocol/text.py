"""Text as encoders and stores take it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

_BINARY: Final = (bytes, bytearray, memoryview)


def plain(text: str) -> str:
    """``text`` as an exact ``str``: it may be an enum, or a template engine's safe string.

    Some stores and encoders refuse a subclass, or read an enum's name instead of its text.
    """
    return str.__str__(text)


def encode_plain(value: object) -> str:
    """An ``enc_hook`` for msgspec, which refuses such text. Raises TypeError for anything else."""
    if isinstance(value, str):
        return plain(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


def with_plain_text(value: object, *, str_keys: bool = False) -> Any:
    """``value`` in builtin types, with exact text. Bytes stay bytes: a conversion then refuses them
    where text is expected, which JSON would have as base64.

    ``str_keys``: keys that are no text become text, as in JSON.
    """
    return msgspec.to_builtins(
        value, builtin_types=_BINARY, str_keys=str_keys, enc_hook=encode_plain
    )

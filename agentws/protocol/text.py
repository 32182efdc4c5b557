"""Text as encoders and stores take it."""

from __future__ import annotations


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

"""Token usage as providers report it: numbers in any form, or none at all."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from ..protocol.messages import TokenUsage
from ..protocol.text import plain

_LARGEST: Final = 2**53
"""JSON numbers above it are not exact everywhere, and no real count of tokens is larger."""
_NAMES: Final = ("provider", "model")


def token_count(value: object) -> int | None:
    """A number of tokens, in any form that providers use; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if math.isfinite(number) and 0 <= number <= _LARGEST else None


def readable_usage(usage: TokenUsage) -> TokenUsage:
    """``usage`` without what can't be read, so that no provider's report makes an answer fail.

    Raises TypeError for anything but a TokenUsage.
    """
    if not isinstance(usage, TokenUsage):
        raise TypeError(f"expected a TokenUsage, not {type(usage).__name__}")
    read: dict[str, Any] = {
        member: _name(value) if member in _NAMES else token_count(value)
        for member, value in msgspec.structs.asdict(usage).items()
    }
    return TokenUsage(**read)


def _name(value: object) -> str | None:
    # No encoder takes a subclass of str, and a run whose end can't be encoded would never end.
    return plain(value) if isinstance(value, str) and value.isprintable() else None


def add_usage(total: list[TokenUsage], usage: TokenUsage) -> None:
    """Adds ``usage`` to the entry of ``total`` with its provider and model, or as a new one.

    A number that only one of the two has counts as it is.
    """
    read = readable_usage(usage)
    for place, known in enumerate(total):
        if (known.provider, known.model) == (read.provider, read.model):
            total[place] = _sum(known, read)
            return
    total.append(read)


def _sum(one: TokenUsage, other: TokenUsage) -> TokenUsage:
    summed = msgspec.structs.asdict(one)
    for member, value in msgspec.structs.asdict(other).items():
        if member not in _NAMES and value is not None:
            summed[member] = min((summed[member] or 0) + value, _LARGEST)
    return TokenUsage(**summed)

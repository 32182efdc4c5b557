"""What a model cost, as providers report it: numbers in any form, or none at all."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from ..protocol.messages import TokenUsage

_LARGEST: Final = 2**53
"""Above it, JSON numbers are not exact everywhere, and no count of tokens is real."""
_NAMES: Final = ("provider", "model")


def token_count(value: object) -> int | None:
    """A number of tokens, however a provider writes it; None for what is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if math.isfinite(number) and 0 <= number <= _LARGEST else None


def counted(usage: TokenUsage) -> TokenUsage:
    """``usage`` with what can be read of it, so that no report of a provider fails an answer.

    Raises TypeError for what is not a TokenUsage.
    """
    if not isinstance(usage, TokenUsage):
        raise TypeError(f"expected a TokenUsage, not {type(usage).__name__}")
    read: dict[str, Any] = {
        member: _name(value) if member in _NAMES else token_count(value)
        for member, value in msgspec.structs.asdict(usage).items()
    }
    return TokenUsage(**read)


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and value.isprintable() else None

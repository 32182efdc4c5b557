"""The ids and timestamps that this node issues."""

from __future__ import annotations

import secrets
import time


def new_id(prefix: str) -> str:
    """A random id of 96 bits, as ``prefix_...``."""
    return f"{prefix}_{secrets.token_urlsafe(12)}"


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000

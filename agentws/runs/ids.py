"""The ids and timestamps that this node issues."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime


def new_id(prefix: str) -> str:
    """A random id of 96 bits, as ``prefix_...``."""
    return f"{prefix}_{secrets.token_urlsafe(12)}"


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def ms_of(timestamp: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 timestamp, by default in UTC."""
    moment = datetime.fromisoformat(timestamp)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

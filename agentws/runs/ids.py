"""The ids and timestamps that this node issues."""

from __future__ import annotations

import os
import time
from binascii import b2a_base64
from datetime import UTC, datetime
from typing import Final

_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


def new_id(prefix: str) -> str:
    """A random id of 96 bits, as ``prefix_...``."""
    # secrets.token_urlsafe(12) makes the same with five calls more; every run needs an id.
    random = b2a_base64(os.urandom(12), newline=False).translate(_URL_SAFE)
    return f"{prefix}_{random.decode()}"


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def ms_of(timestamp: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 timestamp, by default in UTC."""
    moment = datetime.fromisoformat(timestamp)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

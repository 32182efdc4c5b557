"""Limits for tests: short timeouts, and no rate limits."""

from __future__ import annotations

from typing import Any

import msgspec

from agentws.limits import Limits

LIMITS = Limits(
    gather=0.001,
    cancel_grace=0.05,
    lease_ttl=5.0,
    poll_interval=0.05,
    idle_poll_interval=0.05,
    drain_timeout=0.5,
    message_rate=1e6,
    message_burst=10**6,
    byte_rate=1e12,
    read_rate=1e6,
    read_burst=10**6,
)


def limits(**changes: Any) -> Limits:
    return msgspec.structs.replace(LIMITS, **changes)

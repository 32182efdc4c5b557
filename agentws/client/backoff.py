"""How long to wait before a retry: exponential backoff with full jitter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

BASE: Final = 0.3
CAP: Final = 15.0


def retry_delay(
    attempt: int,
    random: Callable[[], float],
    *,
    base: float = BASE,
    cap: float = CAP,
    at_least: float = 0.0,
) -> float:
    """Seconds to wait before retry number ``attempt`` (0 is the first).

    The first retry is immediate: most drops come from a changed network, or a server that restarts
    behind a load balancer. Later ones have full jitter, so that clients which lost their connection
    together do not reconnect together (a reconnect storm). ``at_least`` is the delay that the
    server asked for. Many clients got the same hint, so the jitter comes on top of it.
    """
    jitter = 0.0
    if attempt > 0:
        # The exponent is limited: 2.0 ** 1024 overflows a float.
        jitter = random() * min(cap, base * 2.0 ** min(attempt - 1, 60))
    return at_least + max(jitter, random() * base) if at_least > 0 else jitter

"""How long to wait before trying again."""

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

    The first is immediate: most drops are a changed network or a restarted server behind a
    balancer. Later ones have full jitter, so that clients dropped together don't return together.
    ``at_least`` is what the server asked for; many got the same hint, so they spread behind it.
    """
    jitter = 0.0
    if attempt > 0:
        # The exponent is bounded: 2.0 ** 1024 is no float any more.
        jitter = random() * min(cap, base * 2.0 ** min(attempt - 1, 60))
    return at_least + max(jitter, random() * base) if at_least > 0 else jitter

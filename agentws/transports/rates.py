"""How fast somebody may go on."""

from __future__ import annotations


class TokenBucket:
    """Allows ``burst`` at once and ``rate`` per second on average. Times come from the caller."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, *, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = 0.0

    def take(self, amount: float, now: float) -> float:
        """Takes ``amount`` and returns 0, or takes nothing and returns the seconds to wait."""
        tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if tokens < amount:
            self._tokens = tokens
            return (amount - tokens) / self._rate
        self._tokens = tokens - amount
        return 0.0

"""Rate limits: token buckets for messages and bytes, per connection or per caller."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from typing import Final

from ..errors import TooMany
from ..limits import Limits

REMEMBERED: Final = 10_000
"""Callers whose rate is remembered; the least recently seen one is evicted first."""


class TokenBucket:
    """Allows ``burst`` at once and ``rate`` per second on average. The caller passes the time."""

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

    def wait(self, now: float) -> float:
        """The seconds until one can be taken, without taking it."""
        tokens = self._tokens + (now - self._at) * self._rate
        return max(0.0, (1 - tokens) / self._rate)


class Pace:
    """The rate limit of one connection or caller: messages and bytes per second."""

    __slots__ = ("_messages", "_sizes")

    def __init__(self, limits: Limits) -> None:
        burst = max(limits.byte_rate, float(limits.max_message_size))
        self._messages = TokenBucket(rate=limits.message_rate, burst=limits.message_burst)
        self._sizes = TokenBucket(rate=limits.byte_rate, burst=burst)

    def count(self, *, messages: int = 0, size: int = 0) -> None:
        """Counts what was received; raises TooMany with ``retry_after``."""
        now = asyncio.get_running_loop().time()
        if wait := self._messages.take(messages, now) or self._sizes.take(size, now):
            raise _refusal(wait)

    def check(self) -> None:
        """Raises TooMany if a message would be refused now; counts nothing."""
        if wait := self._messages.wait(asyncio.get_running_loop().time()):
            raise _refusal(wait)


def _refusal(wait: float) -> TooMany:
    # Rounded up: a caller that waits for less would be refused again.
    return TooMany("You are sending too fast.", retry_after=math.ceil(wait * 100) / 100)


class Paces:
    """The rate limits of callers without a connection (HTTP), by the caller's name."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Paces callers={len(self._paces)}>"

    def count(self, caller: str, *, size: int | None = None) -> None:
        """Counts a message, or instead the ``size`` of its body; raises TooMany."""
        pace = self._pace_of(caller)
        if size is None:
            pace.count(messages=1)
        else:
            pace.count(size=size)

    def check(self, caller: str) -> None:
        """Raises TooMany if a message of this caller would be refused now; counts nothing."""
        pace = self._paces.get(caller)
        if pace is not None:
            pace.check()

    def _pace_of(self, caller: str) -> Pace:
        pace = self._paces.get(caller)
        if pace is None:
            pace = self._paces[caller] = Pace(self._limits)
            if len(self._paces) > REMEMBERED:
                self._paces.popitem(last=False)
        self._paces.move_to_end(caller)
        return pace

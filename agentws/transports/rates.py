"""Rate limits: token buckets for messages and bytes, per connection or per caller."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

from ..errors import TooMany
from ..limits import Limits

REMEMBERED: Final = 10_000
"""Callers whose rate is remembered; the least recently seen one is evicted first."""
EXPENSIVE: Final = 20
"""The cost of a search or an export, in reads: for it the store reads many records."""
T = TypeVar("T")


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
        tokens = self._tokens + (now - self._at) * self._rate
        if tokens > self._burst:
            tokens = self._burst
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
    """The rate limit of one connection or caller: messages and bytes per second.

    The caller passes the time.
    """

    __slots__ = ("_messages", "_sizes")

    def __init__(self, limits: Limits) -> None:
        burst = max(limits.byte_rate, float(limits.max_message_size))
        self._messages = TokenBucket(rate=limits.message_rate, burst=limits.message_burst)
        self._sizes = TokenBucket(rate=limits.byte_rate, burst=burst)

    def count(self, now: float, *, messages: int = 0, size: int = 0) -> None:
        """Counts what was received; raises TooMany with ``retry_after``."""
        if wait := self._messages.take(messages, now) or self._sizes.take(size, now):
            raise _refusal(wait)

    def check(self, now: float) -> None:
        """Raises TooMany if a message would be refused now; counts nothing."""
        if wait := self._messages.wait(now):
            raise _refusal(wait)


def _refusal(wait: float, *, what: str = "sending") -> TooMany:
    # Rounded up: a caller that waits for less would be refused again.
    return TooMany(f"You are {what} too fast.", retry_after=math.ceil(wait * 100) / 100)


class Paces:
    """The rate limits of callers without a connection (HTTP), by the caller's name."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._paces: OrderedDict[str, Pace] = OrderedDict()
        self._reads: OrderedDict[str, TokenBucket] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Paces callers={len(self._paces)}>"

    def count(self, caller: str, *, size: int | None = None) -> None:
        """Counts a message, or instead the ``size`` of its body; raises TooMany."""
        pace = self._pace_of(caller)
        if size is None:
            pace.count(_now(), messages=1)
        else:
            pace.count(_now(), size=size)

    def count_read(self, caller: str, cost: int) -> None:
        """Counts a read, which costs as much as ``cost`` of them; raises TooMany."""
        bucket = _remembered(self._reads, caller, self._reads_of)
        if wait := bucket.take(cost, _now()):
            raise _refusal(wait, what="reading")

    def _reads_of(self) -> TokenBucket:
        burst = max(self._limits.read_burst, EXPENSIVE)
        return TokenBucket(rate=self._limits.read_rate, burst=burst)

    def check(self, caller: str) -> None:
        """Raises TooMany if a message of this caller would be refused now; counts nothing."""
        pace = self._paces.get(caller)
        if pace is not None:
            pace.check(_now())

    def _pace_of(self, caller: str) -> Pace:
        return _remembered(self._paces, caller, lambda: Pace(self._limits))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _remembered(known: OrderedDict[str, T], caller: str, make: Callable[[], T]) -> T:
    """The entry of ``caller``, which is now the one that was seen last."""
    entry = known.get(caller)
    if entry is None:
        entry = known[caller] = make()
        if len(known) > REMEMBERED:
            known.popitem(last=False)
    known.move_to_end(caller)
    return entry

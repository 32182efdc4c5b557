"""A lease as its holder uses it: valid until a local deadline, whatever the store says later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..errors import Fenced
from ..store import Lease

MARGIN: Final = 0.1
"""The part of a lease's time that its holder does not use: the two clocks may differ in speed."""


class HeldLease:
    """A lease that this node has, and until when it may write under it without asking the store.

    The deadline is by a monotonic clock of this node, so a change of the wall clock has no effect.
    It is counted from before the store was asked: the store's own expiry is never earlier.
    """

    __slots__ = ("_clock", "lease", "until")

    def __init__(self, lease: Lease, *, asked_at: float, clock: Callable[[], float]) -> None:
        self.lease = lease
        self.until = asked_at + lease.ttl * (1 - MARGIN)
        """The local deadline, in seconds of ``clock``. A thread may move it forward."""
        self._clock = clock

    def __repr__(self) -> str:
        return f"<HeldLease {self.lease.fence} for {self.until - self._clock():.1f} s>"

    def extend(self, *, asked_at: float, ttl: float) -> None:
        """The store was asked at that time, and has renewed the lease for ``ttl`` seconds."""
        self.until = max(self.until, asked_at + ttl * (1 - MARGIN))

    def check(self) -> None:
        """Raises Fenced after the deadline: another node may have the lease by now."""
        if self._clock() >= self.until:
            raise Fenced()

"""How much is read from each peer: a leaky bucket, filled by what a peer sends.

A peer that sends more than it may is not refused: its reads are paused until the bucket has leaked.
The rest waits in the peer's own buffers (backpressure).
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

TICK: Final = 0.1
"""Seconds between two refills. One timer for all connections, and none while all are quiet."""


class Reading(Protocol):
    """A connection as the budget sees it."""

    def read_on(self) -> None:
        """Called when it may be read again, after `ReadBudget.spend` has returned false."""


class ReadBudget:
    """`rate` units per second on average, and `burst` at once, for each connection.

    It holds only the connections that have sent something in the last moments, so an idle one costs
    nothing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, rate: float, burst: float) -> None:
        self._loop = loop
        self._rate = rate
        self._burst = burst
        self._spent: dict[Reading, float] = {}
        self._ticked: float | None = None
        """When it was refilled last; `None` while no timer runs."""

    def __len__(self) -> int:
        return len(self._spent)

    def spend(self, connection: Reading, cost: float) -> bool:
        """Count what was read. False: read nothing more before `connection.read_on()`."""
        spent = self._spent[connection] = self._spent.get(connection, 0.0) + cost
        if self._ticked is None:
            self._ticked = self._loop.time()
            self._loop.call_later(TICK, self._tick)
        return spent <= self._burst

    def is_spent(self, connection: Reading) -> bool:
        """Whether this connection must not be read now."""
        return self._spent.get(connection, 0.0) > self._burst

    def forget(self, connection: Reading) -> None:
        """Call it when the connection has ended."""
        self._spent.pop(connection, None)

    def _tick(self) -> None:
        now = self._loop.time()
        refill = (now - (self._ticked or now)) * self._rate
        self._ticked = now
        for connection, before in tuple(self._spent.items()):
            spent = before - refill
            if spent > 0:
                self._spent[connection] = spent
            else:
                del self._spent[connection]
            if before > self._burst >= spent:
                # Not called here: it may change the bucket of this connection, or end others.
                self._loop.call_soon(connection.read_on)
        if self._spent:
            self._loop.call_later(TICK, self._tick)
        else:
            self._ticked = None

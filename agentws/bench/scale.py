"""How much load a benchmark makes: all of it, or less with ``--quick``."""

from __future__ import annotations

from typing import NamedTuple


class Scale(NamedTuple):
    """How much load: counts of connections, turns, runs, ..., and seconds."""

    idle: int
    turns: int
    runs: int
    seconds: int
    burst: int
    followers: int
    broadcasts: int
    returning: int
    messages: int
    stops: int
    sessions: int
    idle_seconds: float
    appends: int
    watched: int
    lease_seconds: float
    draining: int
    drain_seconds: float
    returning_clients: int

    @property
    def warm_up(self) -> int:
        """Connections that are opened before those whose memory is measured."""
        return self.idle // 4

    @property
    def connections(self) -> int:
        """The most connections that are open at once."""
        most = max(self.followers, self.returning, self.returning_clients, self.draining)
        return max(most, self.runs, self.idle + self.warm_up)

    def at_most(self, connections: int) -> Scale:
        """The same load with at most so many connections at once."""
        return self._replace(
            followers=min(self.followers, connections),
            returning=min(self.returning, connections),
            returning_clients=min(self.returning_clients, connections),
            draining=min(self.draining, connections),
            runs=min(self.runs, connections),
            idle=min(self.idle, max(connections * 4 // 5, 1)),
        )


FULL = Scale(
    idle=2_000,
    turns=10_000,
    runs=100,
    seconds=5,
    burst=1_000,
    followers=10_000,
    broadcasts=10,
    returning=2_000,
    messages=10_000,
    stops=200,
    sessions=2_000,
    idle_seconds=1.0,
    appends=200,
    watched=10,
    lease_seconds=10.0,
    draining=200,
    drain_seconds=10.0,
    returning_clients=5_000,
)
QUICK = Scale(
    idle=500,
    turns=2_000,
    runs=100,
    seconds=2,
    burst=200,
    followers=1_000,
    broadcasts=10,
    returning=200,
    messages=1_000,
    stops=60,
    sessions=1_000,
    idle_seconds=1.0,
    appends=20,
    watched=10,
    lease_seconds=10.0,
    draining=200,
    drain_seconds=2.0,
    returning_clients=300,
)

"""The benchmark in a size for tests."""

from __future__ import annotations

import pytest

from agentws import bench
from agentws.bench import resources
from agentws.bench.overhead import memory, opening
from agentws.bench.scale import Scale
from agentws.bench.stores import failover, worker_speedup

TINY = Scale(
    idle=8,
    turns=50,
    runs=4,
    seconds=1,
    burst=50,
    followers=20,
    broadcasts=2,
    returning=4,
    messages=20,
    stops=4,
    sessions=4,
    idle_seconds=0.05,
    appends=2,
    watched=2,
    lease_seconds=1.0,
    draining=10,
    drain_seconds=0.4,
    returning_clients=8,
)


def make_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes ``--quick`` tiny until the end of the test."""
    monkeypatch.setattr(bench, "QUICK", TINY)
    # The test process must not be pinned to a core.
    monkeypatch.setattr(resources, "pin", lambda pid, *cores: None)
    monkeypatch.setattr(memory, "SETTLE", 0.0)
    monkeypatch.setattr(opening, "COLD_OPENINGS", 2)
    monkeypatch.setattr(failover, "EARLY_LEASE_SECONDS", 1.0)
    monkeypatch.setattr(worker_speedup, "WORKERS", 2)

"""What is measured of each store: one trial per group of rows; each uses new nodes."""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from ..scale import Scale
from ..servers.store_address import StoreAddress
from . import append_cost, cross_node_delay, failover, reconnect_storm, worker_speedup
from .cluster import Cluster
from .database_servers import STORES
from .report import Figure, Result, shown

SHARED: Final = tuple(name for name in STORES if name != "memory")
"""The stores that several processes can share."""


class Trial(NamedTuple):
    """How figures are measured: ``run`` returns one for each of ``figures``."""

    name: str
    run: Callable[[Cluster, Scale], Awaitable[Sequence[float]]]
    figures: Sequence[Figure]
    stores: Sequence[str] = STORES
    waits: bool = False
    """Whether it waits most of its time, so that it may run on all stores at once."""


def _each(target: float) -> Mapping[str, float]:
    return dict.fromkeys(STORES, target)


TRIALS: Final = (
    Trial(
        "deltas",
        append_cost.deltas,
        [
            Figure(
                "CPU of a node for a delta, 100 runs with one every 20 ms",
                "µs",
                {"sqlite": 1.5, "redis": 1.5},
                against_memory=True,
            )
        ],
    ),
    Trial(
        "appends",
        append_cost.appends,
        [
            Figure("appends of one event, 100 sessions at once", "/s", at_least=True),
            Figure("CPU of the caller for such an append", "µs"),
        ],
    ),
    Trial(
        "across",
        cross_node_delay.delay,
        [
            Figure(
                "delay of a delta on another node, after its own (median)",
                "ms",
                {"redis": 5.0, "sqlite": 15.0},
            )
        ],
        SHARED,
    ),
    Trial(
        "failover",
        failover.failover,
        [Figure("kill -9 of a node until another has ended its runs", "s", _each(11.0))],
        SHARED,
        waits=True,
    ),
    Trial(
        "failover-2s",
        failover.early_failover,
        [Figure("the same with leases of 2 s", "s", _each(3.0))],
        SHARED,
        waits=True,
    ),
    Trial(
        "drain",
        failover.drain,
        [Figure("SIGTERM until a node ends, beyond its drain_timeout", "s", _each(10.0))],
        waits=True,
    ),
    Trial(
        "return",
        reconnect_storm.storm,
        [
            Figure("clients of a killed node until all are resumed", "s", _each(60.0)),
            Figure("tries of a client (mean)", ""),
            Figure("calls of the store meanwhile, in the busiest second", "/s"),
            Figure("calls of the store for each resumed client", ""),
        ],
    ),
    Trial(
        "workers",
        worker_speedup.speedup,
        [
            Figure("turns with one process", "/s", at_least=True),
            Figure("four worker processes, against one", "×", {"sqlite": 1.8}, at_least=True),
            Figure("share of all cores that the load itself used then", "%"),
        ],
        ("sqlite",),
    ),
)


async def try_out(
    trial: Trial, addresses: Mapping[str, str], scale: Scale, repeats: int, cores: Sequence[int]
) -> list[Result]:
    """Measures the stores in turn, or at once if it mostly waits. ``addresses``: by their names."""
    stores = [name for name in trial.stores if name in addresses]
    found: dict[str, list[Sequence[float]]] = {name: [] for name in stores}

    async def once(store: str) -> None:
        with tempfile.TemporaryDirectory(prefix="agentws-bench-") as folder:
            address = StoreAddress(
                kind=store,
                url=addresses[store],
                namespace=f"bench_{secrets.token_hex(4)}",
                folder=folder,
            )
            found[store].append(await trial.run(Cluster(address, cores), scale))
        values = zip(trial.figures, found[store][-1], strict=True)
        line = ", ".join(shown(value, figure.unit) for figure, value in values)
        print(f"{trial.name} {store}: {line}", file=sys.stderr, flush=True)

    for _ in range(repeats):
        for some in [stores] if trial.waits else [[store] for store in stores]:
            await asyncio.gather(*map(once, some))
    return [
        Result(trial.name, figure, {name: [each[at] for each in found[name]] for name in stores})
        for at, figure in enumerate(trial.figures)
    ]

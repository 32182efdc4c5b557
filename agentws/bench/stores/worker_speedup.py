"""What several worker processes do on one host, against one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .. import resources
from ..overhead.turns import take_turns
from ..scale import Scale
from ..servers.clients import connect
from ..servers.variants import PRESET
from .cluster import Cluster
from .viewers import wait_for_nodes

CLIENTS = 50
WORKERS = 4


async def speedup(cluster: Cluster, scale: Scale) -> Sequence[float]:
    """Turns per second of one process, the ratio of four to it, and what the load used.

    The load is not pinned: with four workers it takes its share of the cores that they run on.
    """
    with resources.unpinned(cluster.cores):
        one, _ = await _turns_per_second(cluster, scale, 1)
        four, load = await _turns_per_second(cluster, scale, WORKERS)
    return one, four / one, load * 100


async def _turns_per_second(cluster: Cluster, scale: Scale, workers: int) -> tuple[float, float]:
    """Also the share of all cores that this process used."""
    async with cluster.node(workers=workers, cores=cluster.cores) as node:
        await wait_for_nodes(node, workers)
        clients = await connect(PRESET, node.port, CLIENTS)
        await take_turns(clients, scale.turns // 4)
        began, used = time.perf_counter(), time.process_time()
        await take_turns(clients, scale.turns)
        took, used = time.perf_counter() - began, time.process_time() - used
        for each in clients:
            await each.drop()
    return scale.turns // CLIENTS * CLIENTS / took, used / took / len(cluster.cores)

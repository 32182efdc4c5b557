"""How long a failover and a drain take."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from typing import Any

from ..overhead.cancelling import UNTIL_CANCELLED
from ..scale import Scale
from ..servers.process import ServerProcess
from .cluster import Cluster
from .viewers import Viewer, open_viewers, wait_for_deltas

PATIENCE = 60.0
EARLY_LEASE_SECONDS = 2.0


async def failover(cluster: Cluster, scale: Scale) -> Sequence[float]:
    """From the death of a node to the end of its last run, as a client of another node sees it."""
    return await _failover(cluster, scale, {"lease_ttl": scale.lease_seconds})


async def early_failover(cluster: Cluster, scale: Scale) -> Sequence[float]:
    return await _failover(cluster, scale, {"lease_ttl": EARLY_LEASE_SECONDS})


async def _failover(cluster: Cluster, scale: Scale, limits: dict[str, Any]) -> Sequence[float]:
    async with (
        cluster.node(cores=cluster.cores, limits=limits) as dying,
        cluster.node(cores=cluster.cores, limits=limits) as other,
    ):
        owners = await _running(dying, scale.watched)
        viewers = await open_viewers(other, [each.session for each in owners])
        for each in viewers:
            each.expect(0)
        await wait_for_deltas(viewers)
        began = time.perf_counter()
        dying.signal(signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(each.answer() for each in viewers))
        took = time.perf_counter() - began
    wrong = {each.error for each in viewers} - {"interrupted"}
    if wrong:
        raise RuntimeError(f"runs of a lost node ended with {wrong}; expected interrupted")
    return (took,)


async def drain(cluster: Cluster, scale: Scale) -> Sequence[float]:
    """Seconds beyond those of the drain, with connections of which a tenth has a run."""
    limits = {"drain_timeout": scale.drain_seconds, "drain_window": scale.drain_seconds / 2}
    async with cluster.node(cores=cluster.cores, limits=limits) as node:
        await open_viewers(node, [""] * (scale.draining * 9 // 10))
        await _running(node, scale.draining - scale.draining * 9 // 10)
        began = time.perf_counter()
        node.signal(signal.SIGTERM)
        await node.ended()
        return (time.perf_counter() - began - scale.drain_seconds,)


async def _running(node: ServerProcess, count: int) -> list[Viewer]:
    """Viewers whose runs have begun to stream, and do not end by themselves."""
    viewers = await open_viewers(node, [""] * count)
    for each in viewers:
        each.ask(UNTIL_CANCELLED, 1 << 60)
    await wait_for_deltas(viewers)
    return viewers

"""How much later a viewer on another node receives a delta."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import median

from ..scale import Scale
from .cluster import Cluster
from .viewers import open_viewers


async def delay(cluster: Cluster, scale: Scale) -> Sequence[float]:
    """The median of the differences, in milliseconds, of a few runs at a calm pace."""
    count = scale.seconds * 50
    async with cluster.node(cores=cluster.cores) as near, cluster.node(cores=cluster.cores) as far:
        owners = await open_viewers(near, [""] * scale.watched)
        others = await open_viewers(far, [each.session for each in owners])
        for each in (*owners, *others):
            each.expect(count)
        for each in owners:
            each.ask(f"paced:{count}", count)
        await asyncio.gather(*(each.answer() for each in (*owners, *others)))
        differences = [
            other.received[position] - received
            for owner, other in zip(owners, others, strict=True)
            for position, received in owner.received.items()
            # Not one of which either viewer got a merge: it has the last one's position.
            if position in other.received
        ]
    return (median(differences) * 1e3,)

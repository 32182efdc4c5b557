"""What appends cost on a store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec

from ...store import SessionInfo, Store
from .. import resources
from ..overhead.deltas import paced
from ..scale import Scale
from ..servers.variants import RAW_EVENT
from .cluster import Cluster

EVENT = msgspec.json.encode(RAW_EVENT)


async def deltas(cluster: Cluster, scale: Scale) -> Sequence[float]:
    async with cluster.node() as node:
        return (await paced(node, scale),)


async def appends(cluster: Cluster, scale: Scale) -> Sequence[float]:
    """Appends to the store alone, in this process: per second, and the CPU of one."""
    # Stores have threads of their own.
    with resources.unpinned(cluster.cores):
        return await _appends(cluster.address.store(), scale)


async def _appends(store: Store, scale: Scale) -> tuple[float, float]:
    await store.open()
    try:
        sessions = [f"ses_bench_{number}" for number in range(scale.runs)]
        for session in sessions:
            info = SessionInfo(id=session, agent="agent", created=0.0, updated=0.0)
            await store.create(info, epoch="e0000000")
        await _append(store, sessions, 1)
        began, cpu = time.perf_counter(), time.process_time()
        await _append(store, sessions, scale.appends)
        took, used = time.perf_counter() - began, time.process_time() - cpu
    finally:
        await store.close()
    count = len(sessions) * scale.appends
    return count / took, used * 1e6 / count


async def _append(store: Store, sessions: Sequence[str], times: int) -> None:
    """Each session's appends one after the other, all sessions at once."""

    async def several(session: str) -> None:
        for _ in range(times):
            await store.append(session, [EVENT], commutes=True)

    await asyncio.gather(*map(several, sessions))

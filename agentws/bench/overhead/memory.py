"""Memory of a server for one idle connection, and for one evicted session."""

from __future__ import annotations

import asyncio

import msgspec

from .. import resources
from ..scale import Scale
from ..servers.clients import connect, drop
from ..servers.process import ServerProcess
from .turns import take_turns

SETTLE = 1.0
"""Seconds for what the server does after the last answer, and for its allocator."""

EVICTION_SECONDS = 60.0


async def idle_connection(server: ServerProcess, scale: Scale) -> float:
    # The first ones include the memory of what is loaded and pooled once.
    first = await connect(server.variant, server.port, scale.warm_up)
    before = await _memory(server)
    rest = await connect(server.variant, server.port, scale.idle)
    cost = (await _memory(server) - before) / scale.idle
    await drop(first + rest)
    return cost / 1024


async def _memory(server: ServerProcess) -> int:
    """Bytes in use, after a garbage collection: the amount of garbage before it is random."""
    await asyncio.sleep(SETTLE)
    await server.request("POST", "/settle")
    return resources.unique_bytes(server.pid)


async def evicted_session(server: ServerProcess, scale: Scale) -> float:
    """The memory that a session keeps after it was used once and evicted."""

    async def use(count: int) -> None:
        for start in range(0, count, 100):
            clients = await connect(server.variant, server.port, min(100, count - start))
            await take_turns(clients, len(clients))
            await drop(clients)
        # Time for the compaction, for the idle time after it, and for the eviction.
        await asyncio.sleep(scale.idle_seconds * 4 + SETTLE)
        await wait_until_evicted(server, scale)

    # The first round fills caches and pools, whose size is bounded.
    await use(scale.sessions)
    before = await _memory(server)
    for _ in range(2):
        await use(scale.sessions)
    return (await _memory(server) - before) / (2 * scale.sessions)


async def wait_until_evicted(server: ServerProcess, scale: Scale) -> None:
    """Returns once every session was evicted from memory."""
    async with asyncio.timeout(EVICTION_SECONDS):
        while True:
            stats = msgspec.json.decode(await server.request("GET", "/stats"))
            if not stats["sessions_in_memory"]:
                return
            await asyncio.sleep(scale.idle_seconds / 10)

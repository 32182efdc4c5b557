"""CPU of a server that opens a long session, relative to a short one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..resources import Meter
from ..scale import Scale
from ..servers.clients import GatewayClient, client
from ..servers.process import ServerProcess
from . import memory
from .turns import take_turns

OPENINGS = 100
COLD_OPENINGS = 30


async def warm(server: ServerProcess, scale: Scale) -> float:
    """The cost of opening a long session, divided by that of a short one."""

    async def cost(writer: GatewayClient) -> float:
        await _open_and_drop(server, writer.session, 10)
        meter = Meter(server.pid)
        await _open_and_drop(server, writer.session, OPENINGS)
        spent = meter.microseconds(OPENINGS)
        # Only now: a client that follows the session keeps it in memory.
        await writer.drop()
        return spent

    return await _long_to_short(server, scale, cost)


async def cold(server: ServerProcess, scale: Scale) -> float:
    """The same as a cold start: the session was evicted, and its log is read from its file."""

    async def cost(writer: GatewayClient) -> float:
        await writer.drop()
        # Time for the compaction of the log, as before most returns to a session.
        await asyncio.sleep(scale.idle_seconds * 4 + memory.SETTLE)
        # The first opening includes the cost of what is read and pooled once.
        spent = [await _cold_opening(server, scale, writer) for _ in range(COLD_OPENINGS + 1)]
        return sum(spent[1:])

    return await _long_to_short(server, scale, cost)


async def _long_to_short(
    server: ServerProcess, scale: Scale, cost: Callable[[GatewayClient], Awaitable[float]]
) -> float:
    """``cost`` of a long session divided by that of a short one; it gets the client of each."""
    costs = []
    for messages in (10, scale.messages):
        writer = GatewayClient()
        await writer.open(server.port)
        await take_turns([writer], messages // 2)
        costs.append(await cost(writer))
    return costs[1] / costs[0]


async def _cold_opening(server: ServerProcess, scale: Scale, writer: GatewayClient) -> float:
    """The CPU time of one opening, in microseconds."""
    await memory.wait_until_evicted(server, scale)
    meter = Meter(server.pid)
    await _open_and_drop(server, writer.session, 1)
    return meter.microseconds(1)


async def _open_and_drop(server: ServerProcess, session: str, times: int) -> None:
    for _ in range(times):
        reader = client(server.variant)
        await reader.open(server.port, f"?session={session}")
        await reader.drop()

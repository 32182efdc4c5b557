"""CPU of a server that opens a long session, relative to a short one."""

from __future__ import annotations

import asyncio

from ..resources import Meter
from ..scale import Scale
from ..servers.clients import GatewayClient, client, connect
from ..servers.process import ServerProcess
from . import memory
from .turns import take_turns

OPENINGS = 100


async def warm(server: ServerProcess, scale: Scale) -> float:
    """The cost of opening a long session, divided by that of a short one."""
    costs = []
    for messages in (10, scale.messages):
        (writer,) = await connect(server.variant, server.port, 1)
        assert isinstance(writer, GatewayClient)
        await take_turns([writer], messages // 2)
        await _open_anddrop(server, writer.session, 10)
        meter = Meter(server.pid)
        await _open_anddrop(server, writer.session, OPENINGS)
        costs.append(meter.microseconds(OPENINGS))
        await writer.drop()
    return costs[1] / costs[0]


async def _open_anddrop(server: ServerProcess, session: str, times: int) -> None:
    for _ in range(times):
        reader = client(server.variant)
        await reader.open(server.port, f"?session={session}")
        await reader.drop()


COLD_OPENINGS = 30


async def cold(server: ServerProcess, scale: Scale) -> float:
    """The same as a cold start: the session was evicted, and its log is read from its file."""
    costs = []
    for messages in (10, scale.messages):
        (writer,) = await connect(server.variant, server.port, 1)
        assert isinstance(writer, GatewayClient)
        await take_turns([writer], messages // 2)
        await writer.drop()
        # Time for the compaction of the log, as before most returns to a session.
        await asyncio.sleep(scale.idle_seconds * 4 + memory.SETTLE)
        spent = 0.0
        for opening in range(-1, COLD_OPENINGS):
            await memory.wait_until_evicted(server, scale)
            meter = Meter(server.pid)
            await _open_anddrop(server, writer.session, 1)
            # The first one includes the cost of what is read and pooled once.
            spent += meter.microseconds(COLD_OPENINGS) if opening >= 0 else 0.0
        costs.append(spent)
    return costs[1] / costs[0]

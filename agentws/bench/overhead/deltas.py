"""CPU of a server for one delta."""

from __future__ import annotations

import asyncio

from ..resources import Meter
from ..scale import Scale
from ..servers.clients import connect, drop
from ..servers.process import ServerProcess
from .turns import take_turns


async def _runs(server: ServerProcess, runs: int, work: str, deltas: int) -> float:
    clients = await connect(server.variant, server.port, runs)
    await take_turns(clients, runs)
    meter = Meter(server.pid)
    for each in clients:
        each.ask(f"{work}:{deltas}", deltas)
    await asyncio.gather(*(each.answer() for each in clients))
    cost = meter.microseconds(runs * deltas)
    await drop(clients)
    return cost


async def paced(server: ServerProcess, scale: Scale) -> float:
    return await _runs(server, scale.runs, "paced", scale.seconds * 50)


async def burst(server: ServerProcess, scale: Scale) -> float:
    return await _runs(server, scale.runs, "burst", scale.burst)

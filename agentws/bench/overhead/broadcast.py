"""CPU of a server for one delivery of a broadcast."""

from __future__ import annotations

import asyncio

from ..resources import Meter
from ..scale import Scale
from ..servers.clients import connect, drop
from ..servers.process import ServerProcess


async def delivery(server: ServerProcess, scale: Scale) -> float:
    clients = await connect(server.variant, server.port, scale.followers)

    async def once() -> None:
        for each in clients:
            each.expect(1)
        await server.request("POST", "/to-everybody")
        await asyncio.gather(*(each.answer() for each in clients))

    await once()
    meter = Meter(server.pid)
    for _ in range(scale.broadcasts):
        await once()
    cost = meter.microseconds(scale.broadcasts * scale.followers)
    await drop(clients)
    return cost

"""CPU of a server for one reconnect in a storm, with deltas to replay."""

from __future__ import annotations

import asyncio

from ..resources import Meter
from ..scale import Scale
from ..servers.clients import Client, GatewayClient, client, connect, drop
from ..servers.process import ServerProcess

OWED = 100


async def storm(server: ServerProcess, scale: Scale) -> float:
    dropping = await connect(server.variant, server.port, scale.returning)
    if server.variant.app == "gateway":
        for start in range(0, len(dropping), 200):
            some = dropping[start : start + 200]
            for each in some:
                each.ask(f"apart:{OWED}", OWED)
            await asyncio.gather(*(each.answer() for each in some))
    returning = [client(server.variant) for _ in dropping]
    meter = Meter(server.pid)
    await asyncio.gather(*(each.drop() for each in dropping))
    await asyncio.gather(
        *(_reconnect(server, old, new) for old, new in zip(dropping, returning, strict=True))
    )
    cost = meter.microseconds(scale.returning)
    await drop(returning)
    return cost


async def _reconnect(server: ServerProcess, old: Client, new: Client) -> None:
    new.expect(OWED)
    query = f"?owed={OWED}"
    if isinstance(old, GatewayClient):
        query = f"?session={old.session}&after={old.position}"
    await new.open(server.port, query)
    await new.answer()
    if isinstance(new, GatewayClient) and new.resume != "replay":
        raise RuntimeError(f"expected a replay, got {new.resume}")

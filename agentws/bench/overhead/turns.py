"""CPU of a server for one turn of an echo agent."""

from __future__ import annotations

import asyncio

from ..resources import Meter
from ..scale import Scale
from ..servers.clients import Client, connect, drop
from ..servers.process import ServerProcess


async def take_turns(clients: list[Client], count: int, work: str = "echo") -> None:
    async def several(each: Client, turns: int) -> None:
        for _ in range(turns):
            each.ask(work, 1)
            await each.answer()

    await asyncio.gather(*(several(each, count // len(clients)) for each in clients))


async def _echo(server: ServerProcess, count: int, turns: int, work: str = "echo") -> float:
    clients = await connect(server.variant, server.port, count)
    await take_turns(clients, 500, work)
    meter = Meter(server.pid)
    await take_turns(clients, turns, work)
    cost = meter.microseconds(turns)
    await drop(clients)
    return cost


async def echo(server: ServerProcess, scale: Scale) -> float:
    """Turns one after the other: each wakes an idle server, as messages of users do."""
    return await _echo(server, 1, scale.turns)


async def busy(server: ServerProcess, scale: Scale) -> float:
    """A saturated server: it never sleeps, and reads what waits in batches."""
    return await _echo(server, 50, scale.turns)


async def tool(server: ServerProcess, scale: Scale) -> float:
    """The same with one call of a tool in each turn."""
    return await _echo(server, 50, scale.turns, "tool")

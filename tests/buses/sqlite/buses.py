"""Opens buses over a file, listens to them, and reads what their sockets have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from agentws.backends.sqlite.bus import SQLiteBus
from agentws.testing.contract_base import eventually


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SQLiteBus]:
    bus = SQLiteBus(path)
    await bus.open()
    yield bus
    await bus.close()


async def until(condition: Callable[[], object]) -> None:
    async def holds() -> bool:
        return bool(condition())

    await eventually(holds)


def listen(bus: SQLiteBus, channel: str = "c") -> list[bytes]:
    received: list[bytes] = []
    bus.subscribe(channel, lambda _, payload: received.append(payload))
    return received


async def connected(one: SQLiteBus, other: SQLiteBus) -> None:
    """Returns when each bus receives what the other publishes."""
    for writer, reader in ((one, other), (other, one)):
        received = listen(reader, "connected")

        def arrives(writer: SQLiteBus = writer, received: list[bytes] = received) -> bool:
            writer.publish("connected", b"")
            return bool(received)

        await until(arrives)


def sockets(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir() if "-bell-" in each.name)


def own_name(bus: SQLiteBus) -> str:
    assert bus._mesh is not None
    return bus._mesh._files.own


def connection_backlogs(bus: SQLiteBus) -> list[int]:
    assert bus._mesh is not None
    return [len(connection._backlog) for connection in bus._mesh._outgoing.values()]

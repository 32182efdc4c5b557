"""What is measured: one function per row of the table; each takes one figure from a new server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from . import cancelling, measure
from .load import Client, GatewayClient, client, connect
from .measure import Meter
from .process import ServerProcess
from .scale import Scale

# Seconds for what the server does after the last answer, and for its allocator.
SETTLE = 1.0


Options = dict[str, Any]
"""Options of a server process: its limits and its store."""


def default_options(scale: Scale) -> Options:
    return {}


def on_disk(scale: Scale) -> Options:
    """With a store on disk, whose callers wait for it."""
    return {"store": "sqlite"}


def without_coalescing(scale: Scale) -> Options:
    """Without coalescing: each delta is an event, so that a client has as many to replay."""
    return {"limits": {"gather": 0.0}}


def early_eviction(scale: Scale) -> Options:
    """With early eviction: a session without followers is soon evicted from memory."""
    names = ("session_idle", "replay_window", "poll_interval")
    return {"limits": dict.fromkeys(names, scale.idle_seconds), "store": "sqlite"}


def immediate_eviction(scale: Scale) -> Options:
    """With immediate eviction, so that every later use of a session is a cold start."""
    return early_eviction(scale._replace(idle_seconds=scale.idle_seconds / 10))


class Workload(NamedTuple):
    """One row: how it is measured, and its targets on stock uvicorn and on the preset, if any."""

    name: str
    title: str
    unit: str
    run: Callable[[ServerProcess, Scale], Awaitable[float]]
    stock: float | None
    preset: float | None
    against_raw: bool = True
    options: Callable[[Scale], Options] = default_options


async def idle(server: ServerProcess, scale: Scale) -> float:
    # The first ones include the memory of what is loaded and pooled once.
    first = await connect(server.variant, server.port, scale.warm_up)
    before = await _memory(server)
    rest = await connect(server.variant, server.port, scale.idle)
    cost = (await _memory(server) - before) / scale.idle
    await _drop(first + rest)
    return cost / 1024


async def _memory(server: ServerProcess) -> int:
    """Bytes in use, after a garbage collection: the amount of garbage before it is random."""
    await asyncio.sleep(SETTLE)
    await server.request("POST", "/settle")
    return measure.unique_bytes(server.pid)


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
    await _drop(clients)
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


async def _runs(server: ServerProcess, runs: int, work: str, deltas: int) -> float:
    clients = await connect(server.variant, server.port, runs)
    await take_turns(clients, runs)
    meter = Meter(server.pid)
    for each in clients:
        each.ask(f"{work}:{deltas}", deltas)
    await asyncio.gather(*(each.answer() for each in clients))
    cost = meter.microseconds(runs * deltas)
    await _drop(clients)
    return cost


async def paced(server: ServerProcess, scale: Scale) -> float:
    return await _runs(server, scale.runs, "paced", scale.seconds * 50)


async def burst(server: ServerProcess, scale: Scale) -> float:
    return await _runs(server, scale.runs, "burst", scale.burst)


async def broadcast(server: ServerProcess, scale: Scale) -> float:
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
    await _drop(clients)
    return cost


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
    await _drop(returning)
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


OPENINGS = 100


async def opening(server: ServerProcess, scale: Scale) -> float:
    """The cost of opening a long session, divided by that of a short one."""
    costs = []
    for messages in (10, scale.messages):
        (writer,) = await connect(server.variant, server.port, 1)
        assert isinstance(writer, GatewayClient)
        await take_turns([writer], messages // 2)
        await _open_and_drop(server, writer.session, 10)
        meter = Meter(server.pid)
        await _open_and_drop(server, writer.session, OPENINGS)
        costs.append(meter.microseconds(OPENINGS))
        await writer.drop()
    return costs[1] / costs[0]


async def _open_and_drop(server: ServerProcess, session: str, times: int) -> None:
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
        await asyncio.sleep(scale.idle_seconds * 4 + SETTLE)
        spent = 0.0
        for opening in range(-1, COLD_OPENINGS):
            await _wait_until_evicted(server, scale)
            meter = Meter(server.pid)
            await _open_and_drop(server, writer.session, 1)
            # The first one includes the cost of what is read and pooled once.
            spent += meter.microseconds(COLD_OPENINGS) if opening >= 0 else 0.0
        costs.append(spent)
    return costs[1] / costs[0]


EVICTION_SECONDS = 60.0


async def _wait_until_evicted(server: ServerProcess, scale: Scale) -> None:
    """Returns once every session was evicted from memory."""
    async with asyncio.timeout(EVICTION_SECONDS):
        while True:
            stats = msgspec.json.decode(await server.request("GET", "/stats"))
            if not stats["sessions_in_memory"]:
                return
            await asyncio.sleep(scale.idle_seconds / 10)


async def forgotten(server: ServerProcess, scale: Scale) -> float:
    """The memory that a session keeps after it was used once and evicted."""

    async def use(count: int) -> None:
        for start in range(0, count, 100):
            clients = await connect(server.variant, server.port, min(100, count - start))
            await take_turns(clients, len(clients))
            await _drop(clients)
        # Time for the compaction, for the idle time after it, and for the eviction.
        await asyncio.sleep(scale.idle_seconds * 4 + SETTLE)
        await _wait_until_evicted(server, scale)

    # The first round fills caches and pools, whose size is bounded.
    await use(scale.sessions)
    before = await _memory(server)
    for _ in range(2):
        await use(scale.sessions)
    return (await _memory(server) - before) / (2 * scale.sessions)


# An evicted session should cost nothing. Memory is allocated and returned in pages, and the partly
# used ones vary by some hundred bytes a session between rounds: less than this counts as nothing.
NOTHING = 512.0


async def _drop(clients: list[Client]) -> None:
    await asyncio.gather(*(each.drop() for each in clients))


WORKLOADS = (
    Workload("idle", "an idle connection", "KiB", idle, 1.0, 0.6),
    Workload("echo", "a turn of an echo agent, against a bare echo", "µs", echo, 4.0, 3.0),
    Workload("busy", "the same on a saturated server (50 clients)", "µs", busy, None, None),
    Workload("tool", "the same with one call of a tool in each turn", "µs", tool, None, None),
    Workload("paced", "a delta, 100 runs with one every 20 ms", "µs", paced, 0.85, 0.58),
    Workload("burst", "a delta, 100 runs as fast as they yield", "µs", burst, 0.1, 0.1),
    Workload("broadcast", "one delivery of a broadcast", "µs", broadcast, 0.85, 0.6),
    Workload(
        "storm",
        "a reconnect in a storm, with 100 deltas to replay",
        "µs",
        storm,
        0.5,
        0.4,
        options=without_coalescing,
    ),
    Workload(
        "cancel",
        "a cancel's acknowledgement among 100 runs, against an idle node",
        "×",
        cancelling.acknowledged,
        4.0,
        4.0,
        False,
        options=on_disk,
    ),
    Workload(
        "stop",
        "the end of a cancelled run among 100, against an idle node",
        "×",
        cancelling.ended,
        3.0,
        3.0,
        False,
        options=on_disk,
    ),
    Workload(
        "opening", "opening a long session, against a short one", "×", opening, 1.5, 1.5, False
    ),
    Workload(
        "cold",
        "the same as a cold start from SQLite",
        "×",
        cold,
        1.5,
        1.5,
        False,
        options=immediate_eviction,
    ),
    Workload(
        "forgotten",
        "the rest in memory of an evicted session",
        "bytes",
        forgotten,
        NOTHING,
        NOTHING,
        False,
        options=early_eviction,
    ),
)

"""The cost of optimistic concurrency control: nothing without a conflict."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.agents.output import Output
from agentws.agents.run_context import RunContext
from agentws.backends.local import LocalBus
from agentws.bus import Bus
from agentws.limits import Limits
from agentws.testing.connect import Client, Frame, connect, kind, running
from agentws.testing.faults import LossyBus
from agentws.testing.laws import violations
from agentws.testing.oracle import read_log
from tests.limits import limits
from tests.runs.nodes import memory_store

from .episode import question
from .inline import InlineSQLite
from .stores import Counting

SESSION = "a-session-that-is-counted"


async def agent(ctx: RunContext) -> AsyncIterator[Output]:
    match ctx.text:
        case "wait":
            yield "waiting"
            await asyncio.get_running_loop().create_future()
        case "stream":
            while True:
                yield "word "
                await asyncio.sleep(0.001)
        case "ask":
            yield question("q1")
        case _:
            yield "fine"


@asynccontextmanager
async def node(store: Counting, few: Limits, bus: Bus) -> AsyncIterator[Client]:
    app = Starlette()
    mount_agent_gateway(app, agent, store=store, bus=bus, limits=few)
    async with running(app, within=500.0):
        async with connect(app, f"/ws/chat?session={SESSION}") as client:
            await client.until("welcome")
            yield client


# Without a conflict


async def quiet(client: Client) -> None:
    await client.say("quick", "m0")
    await client.answer()


async def running_one(client: Client) -> None:
    await quiet(client)
    await client.say("wait", "m1")
    await client.until("TEXT_MESSAGE_CONTENT")


async def waiting_one(client: Client) -> None:
    await running_one(client)
    await client.say("quick", "m2")


async def asked(client: Client) -> None:
    await quiet(client)
    await client.say("ask", "m1")
    await client.until("RUN_FINISHED")


ONE = Counter(append=1)
COMMANDS: dict[str, tuple[Any, Frame, Counter[str]]] = {
    "a message": (quiet, {"type": "send", "content": "quick"}, ONE),
    "a message that rejects": (
        quiet,
        {"type": "send", "content": "quick", "overlap": "reject"},
        ONE,
    ),
    "a message that waits": (running_one, {"type": "send", "content": "quick"}, ONE),
    "a message that interrupts": (
        running_one,
        {"type": "send", "content": "quick", "overlap": "interrupt"},
        ONE,
    ),
    "a stop": (running_one, {"type": "cancel"}, ONE),
    "a stop by message": (running_one, {"type": "cancel", "message": "m1"}, ONE),
    "a stop of what waits": (waiting_one, {"type": "cancel", "message": "m2"}, ONE),
    "a withdrawal": (waiting_one, {"type": "withdraw", "message": "m2"}, ONE),
    "an answer": (asked, {"type": "answer", "interrupt": "q1", "payload": "yes"}, ONE),
    # One lookup first: a repeated /clear is a duplicate, also during a later run.
    "a clear": (quiet, {"type": "command", "name": "clear"}, Counter(append=1, find=1)),
}


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
@pytest.mark.parametrize(("before", "frame", "calls"), COMMANDS.values(), ids=COMMANDS)
async def test_a_command_without_a_conflict_costs_one_append(
    tmp_path: Path, backend: str, before: Any, frame: Frame, calls: Counter[str]
) -> None:
    inner = memory_store() if backend == "memory" else InlineSQLite(tmp_path / "log.db")
    store = Counting(inner)
    async with node(store, limits(), LocalBus()) as client:
        await before(client)
        await client.settle()
        store.calls.clear()
        reply = await client.ask({**frame, "id": "counted"})
        assert reply["type"] == "accepted"
        del store.calls["append of a run"]
        assert store.calls == calls


async def test_a_run_without_a_conflict_begins_without_reading_the_log() -> None:
    store = Counting(memory_store())
    async with node(store, limits(), LocalBus()) as client:
        await quiet(client)
        store.calls.clear()
        await client.say("quick", "m1")
        await client.until("RUN_STARTED")
        del store.calls["append of a run"]
        assert store.calls == ONE


# A stream does not starve a command

GATHER = 0.025


@asynccontextmanager
async def streaming(
    path: Path, *, share: float, lossless: bool
) -> AsyncIterator[list[tuple[Counting, Client]]]:
    """Two nodes; the first one appends the deltas of a run as fast as possible.

    ``share`` of the time between two appends of the stream is what each call of a store takes.
    """
    bus: Bus = LocalBus() if lossless else LossyBus(LocalBus(), drop=1.0)
    few = limits(gather=GATHER, poll_interval=1.0, idle_poll_interval=1.0)
    stores = [Counting(InlineSQLite(path), latency=share * GATHER) for _ in range(2)]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(node(store, few, bus)) for store in stores]
        await clients[0].say("stream", "m1")
        for client in clients:
            await client.until("TEXT_MESSAGE_CONTENT")
        yield list(zip(stores, clients, strict=True))
        records = (await read_log(stores[0].store, SESSION))[1]
        assert violations(records, ended=False) == []


@pytest.mark.parametrize("lossless", [True, False], ids=["bus", "no bus"])
@pytest.mark.parametrize("at", [0, 1], ids=["its node", "another node"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.5, 4.0])
async def test_a_command_during_a_stream_needs_no_second_append(
    tmp_path: Path, share: float, at: int, lossless: bool
) -> None:
    chance, tries = random.Random(1), []
    async with streaming(tmp_path / "log.db", share=share, lossless=lossless) as nodes:
        store, client = nodes[at]
        for number in range(0, 60, 2):
            for frame in (
                {"type": "send", "content": "quick", "id": f"x{number}"},
                {"type": "withdraw", "message": f"x{number}", "id": f"x{number + 1}"},
            ):
                store.calls.clear()
                assert (await client.ask(frame))["type"] == "accepted"
                tries.append(store.calls["append"])
                await asyncio.sleep(chance.uniform(0.0, 4 * GATHER))
        assert (await client.ask({"type": "cancel", "id": "stop"}))["type"] == "accepted"
        # On a store that is slow the end may come before the reply.
        if "RUN_FINISHED" not in map(kind, client.frames):
            await client.until("RUN_FINISHED")
    assert set(tries) == {1}, tries

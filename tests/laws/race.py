"""A race: a command is decided, the log grows, and then it is appended.

Two nodes with a handle each on one SQLite file. The append of one of them is held after it was
decided, before it reaches the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.backends.local import LocalBus
from agentws.bus import Bus
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.testing.agents import Gate, Script, Step
from agentws.testing.connect import Client, Frame, connect, running
from agentws.testing.faults import LossyBus
from agentws.testing.laws import moments, violations
from agentws.testing.oracle import check_client, check_log, read_log
from tests.limits import limits

from .inline import InlineSQLite
from .stores import Held

SESSION = "a-session-of-two-commands"
MAX_QUEUED = 2


class Race:
    """Two nodes, with a client each; the appends of the first can be held."""

    def __init__(
        self, store: Held, clients: Sequence[Client], witness: InlineSQLite, *, delay: float
    ) -> None:
        self.store = store
        self._delay = delay
        self.here, self.there = clients
        self._witness = witness
        self._number = 0

    async def ask(self, client: Client, type: str, **members: Any) -> Frame:
        """A command and its reply."""
        self._number += 1
        return await client.ask({"type": type, "id": f"x{self._number}", **members})

    async def overtaken(self, type: str, asking: Any, *others: Any) -> Any:
        """The result of ``asking``, whose append of a ``type`` is held until ``others`` end."""
        self.store.hold(type)
        task = asyncio.ensure_future(asking)
        await self.store.held()
        for other in others:
            await other
        self.store.let_go()
        return await task

    async def until_open(self, run: str | None, *, queue: int = 0) -> None:
        """Returns when the run for that message (or none) is active, with that many queued."""
        async with asyncio.timeout(10):
            while True:
                now = moments((await read_log(self._witness, SESSION))[1])[-1]
                if now.message == run and len(now.queue) == queue:
                    return
                await asyncio.sleep(0.01)

    async def log(self) -> list[dict[str, Any]]:
        """The log once everything in it has ended, checked against the laws."""
        async with asyncio.timeout(60):
            while True:
                epoch, records = await read_log(self._witness, SESSION)
                if moments(records)[-1].settled:
                    break
                await asyncio.sleep(0.1)
        assert violations(records, max_queued=MAX_QUEUED) == []
        check_log(records)
        await asyncio.sleep(self._delay)
        for client in (self.here, self.there):
            client.take_waiting()
            check_client(epoch, records, client.frames, complete=True)
        return [msgspec.json.decode(record.data)["event"] for record in records]

    async def ends(self) -> list[tuple[str, str]]:
        """The message and the outcome of each run."""
        runs: dict[str, str] = {}
        found = []
        for event in await self.log():
            if event["type"] == "RUN_STARTED":
                runs[event["runId"]] = ",".join(one["id"] for one in event["input"]["messages"])
            elif event["type"] == "RUN_FINISHED":
                found.append((runs[event["runId"]], event["outcome"]["type"]))
        return found

    async def kinds(self) -> list[str]:
        return [event["type"] for event in await self.log()]


@asynccontextmanager
async def race(path: Path, agent: Script, *, lossy: bool = False) -> AsyncIterator[Race]:
    """The first node holds the session's lease, so it runs every message.

    ``lossy``: the bus loses every ring, so the nodes only poll the log, every five seconds.
    """
    bus: Bus = LossyBus(LocalBus(), drop=1.0) if lossy else LocalBus()
    few = limits(max_queued=MAX_QUEUED, idle_poll_interval=5.0 if lossy else 0.05)
    witness = InlineSQLite(path / "log.db")
    stores = [Held(InlineSQLite(path / "log.db")) for _ in range(2)]
    async with AsyncExitStack() as stack:
        await witness.open()
        stack.push_async_callback(witness.close)
        clients = []
        for store in stores:
            app = Starlette()
            mount_agent_gateway(app, agent, store=store, bus=bus, limits=few)
            await stack.enter_async_context(running(app, within=500.0))
            client = connect(app, f"/ws/chat?session={SESSION}")
            clients.append(await stack.enter_async_context(client))
            await clients[-1].until("welcome")
        one = Race(stores[0], clients, witness, delay=10.0 if lossy else 0.5)
        await one.here.say("quick", "m0")
        await one.here.answer()
        if not lossy:
            await one.there.answer()
        yield one


def script(gate: Gate, second: Gate | None = None) -> Script:
    question = m.Interrupt("q1", "approval", message="May I?")
    named: dict[str, list[Step]] = {
        "wait": ["one ", gate, "two"],
        "wait too": ["one ", second or gate, "two"],
        "ask": [e.RunFinished("", "", outcome=m.InterruptOutcome([question]))],
    }
    return Script("fine", named=named)


def code(reply: Frame) -> str:
    return str(reply.get("code", reply["type"]))


async def occupied(gate: Gate, one: Race) -> None:
    """The run of ``m1`` is active, and ``m2`` from the other node is queued behind it."""
    await one.here.say("wait", "m1")
    await gate.reached()
    await one.there.say("wait too", "m2")
    await one.until_open("m1", queue=1)


async def opened(gate: Gate, one: Race, run: str | None = None, *, queue: int = 0) -> None:
    """Lets the agent continue at ``gate``; returns when the end of its run is in the log."""
    gate.open()
    await one.until_open(run, queue=queue)

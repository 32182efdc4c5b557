"""Two nodes on one SQLite file, each with an event loop of its own.

So one of them can be blocked by its agent, and the other one goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from agentws import Agent, AgentGateway, RunContext, SQLiteStore
from agentws.protocol import frames as f
from agentws.protocol.codec import event_type
from agentws.store import Record, Store
from agentws.testing.agents import Script
from agentws.testing.contract_base import eventually
from agentws.testing.faults import WrappedStore
from agentws.testing.log_check import check_log
from agentws.testing.oracle import read_log
from tests.limits import limits

T = TypeVar("T")

SESSION = "a-session-with-a-blocked-node"
ENDS = ("RUN_FINISHED", "RUN_ERROR")


class WithoutRenewer(WrappedStore):
    """Its leases are renewed on the event loop."""

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        return await call()


class Blocking(Agent):
    """Blocks its event loop between two pieces of text."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield "before "
        await asyncio.sleep(0.05)
        time.sleep(self._seconds)  # noqa: ASYNC251 - what an agent must not do
        yield "after"


async def ended(store: Store) -> list[Record]:
    """The log, when its run has ended."""
    async with asyncio.timeout(60):
        while True:
            _, records = await read_log(store, SESSION)
            if any(event_type(record.data) in ENDS for record in records):
                return records
            await asyncio.sleep(0.02)


async def _is_idle(gateway: AgentGateway) -> bool:
    return gateway.runs.running == 0


async def blocked_node(path: Path, *, blocked: float, renewer: bool, **changes: float) -> None:
    """A node that is blocked by its agent for some time, and then works as before."""
    file = SQLiteStore(path, synchronous="NORMAL")
    store: Store = file if renewer else WithoutRenewer(file)
    gateway = AgentGateway(lambda: Blocking(blocked), store=store, limits=limits(**changes))
    await gateway.start()
    try:
        session, _ = await gateway.enter(SESSION, identity=None, agent=None)
        await gateway.send(session, f.Send(id="m1", content="go"), identity=None)
        await ended(store)
        await eventually(partial(_is_idle, gateway))
    finally:
        await gateway.stop()


async def with_a_blocked_node(
    path: Path, *, blocked: float, renewer: bool = True, **changes: float
) -> list[Record]:
    """The log of a session whose node was blocked, while another node was there."""
    store = SQLiteStore(path, synchronous="NORMAL")
    other = AgentGateway(Script("taken over"), store=store, limits=limits(**changes))
    await other.start()
    try:
        node = blocked_node(path, blocked=blocked, renewer=renewer, **changes)
        await asyncio.to_thread(asyncio.run, node)
        records = await ended(store)
        check_log(records, accepted=["m1"])
        return records
    finally:
        await other.stop()

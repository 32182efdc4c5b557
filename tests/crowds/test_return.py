"""The clients of a lost node return to another at once: what they ask of the store is bounded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import pytest
from starlette.applications import Starlette

from agentws import Limits, RunContext, mount_agent_gateway
from agentws.backends.memory import MemoryStore
from agentws.store import Store
from agentws.testing.connect import Client, kind, running
from agentws.testing.faults import WrappedStore
from agentws.transports import connections
from agentws.transports.connections import OPENING

T = TypeVar("T")
CLIENTS = OPENING * 4
LIMITS = Limits(max_connections_per_address=CLIENTS + 1, max_runs=CLIENTS)


REGULAR = {"beat", "nodes", "heads", "renew", "unsettled", "stale", "maintain"}
"""Calls that a node makes again and again, more of them the longer a test takes."""


class Busy(WrappedStore):
    """Counts the calls that clients cause, and how many there are at most at the same time.

    Each takes a moment.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.calls: Counter[str] = Counter()
        self.most = 0
        self._now = 0

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        if operation in REGULAR:
            return await call()
        self.calls[operation] += 1
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await asyncio.sleep(0.001)
            return await call()
        finally:
            self._now -= 1


async def test_clients_that_return_at_once_make_few_calls_and_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nobody is refused because a busy machine takes longer.
    monkeypatch.setattr(connections, "OPENING_PATIENCE", 60.0)
    shared = MemoryStore()
    first, second, busy = Starlette(), Starlette(), Busy(shared)
    mount_agent_gateway(first, _echo, store=shared, limits=LIMITS)
    mount_agent_gateway(second, _echo, store=busy, limits=LIMITS)
    async with running(first), running(second):
        clients = [Client(first) for _ in range(CLIENTS)]
        await asyncio.gather(*map(_ask, clients))
        await asyncio.gather(*(_return(client, second) for client in clients))
        assert busy.most <= OPENING
        assert busy.calls == {"open": 1, "load": CLIENTS, "read": CLIENTS}
        for client in clients:
            client.drop()


async def _echo(ctx: RunContext) -> AsyncIterator[str]:
    yield ctx.text


async def _ask(client: Client) -> None:
    await client.open()
    await client.say("hello", "m1")
    await client.until(lambda frame: kind(frame) == "RUN_FINISHED", within=30)


async def _return(client: Client, node: Starlette) -> None:
    """Resumes after the beginning of the run, as a client that was cut off in it."""
    begun = next(frame for frame in client.frames if kind(frame) == "RUN_STARTED")
    client.position = begun["id"]
    await client.reconnect(node)
    await client.until(lambda frame: kind(frame) == "RUN_FINISHED", within=30)

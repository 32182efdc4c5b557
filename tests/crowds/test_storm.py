"""A reconnect storm: many clients drop and reconnect at once, and lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette

from agentws import Limits, RunContext, mount_agent_gateway
from agentws.backends.memory import MemoryStore
from agentws.testing.connect import Client, kind, running
from agentws.testing.oracle import check_client, check_log, read_log

CLIENTS = 2_000
LIMITS = Limits(max_connections_per_address=CLIENTS + 1, run_timeout=120.0, max_runs=CLIENTS)


@pytest.mark.timeout(180)
async def test_two_thousand_clients_reconnect_at_once_and_lose_nothing() -> None:
    away = asyncio.Event()

    async def speaker(ctx: RunContext) -> AsyncIterator[str]:
        for number in range(10):
            yield f"{number} "
        await away.wait()
        for number in range(10, 20):
            yield f"{number} "

    app = Starlette()
    store = MemoryStore()
    mount_agent_gateway(app, speaker, store=store, limits=LIMITS)
    async with running(app):
        clients = [Client(app) for _ in range(CLIENTS)]
        await asyncio.gather(*(_ask(client) for client in clients))
        for client in clients:
            client.drop()
        away.set()
        await asyncio.gather(*(_return(client) for client in clients))
        for client in clients:
            assert client.session is not None
            epoch, records = await read_log(store, client.session)
            check_log(records)
            check_client(epoch, records, client.frames, complete=True)
            client.drop()


async def _ask(client: Client) -> None:
    await client.open()
    await client.say("count", "m1")
    await client.until(lambda frame: kind(frame) == "TEXT_MESSAGE_CONTENT", within=60)


async def _return(client: Client) -> None:
    await client.reconnect()
    await client.until("RUN_FINISHED", within=60)
    resumed = [frame["resume"] for frame in client.frames if kind(frame) == "welcome"]
    assert resumed == ["new", "replay"]

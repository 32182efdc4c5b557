"""Two gateways that share a Redis server: any node serves any client of any session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import RunContext, SQLiteStore, mount_agent_gateway
from agentws.backends.redis import RedisBus, RedisStore
from agentws.bus import Bus
from agentws.store import Store
from agentws.testing.connect import Client, connect, kind, running
from agentws.testing.oracle import TERMINAL, check_client, check_log, read_log
from tests.limits import limits
from tests.servers.redis import RedisServer

WORDS = 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


async def talker(ctx: RunContext) -> AsyncIterator[str]:
    for number in range(WORDS):
        yield f"{number} "
        await asyncio.sleep(0.01)


@asynccontextmanager
async def node(store: Store, bus: Bus | None = None, **changes: Any) -> AsyncIterator[Starlette]:
    app = Starlette()
    mount_agent_gateway(app, talker, store=store, bus=bus, limits=limits(**changes))
    async with running(app):
        yield app


@asynccontextmanager
async def clients_of(one: Starlette, two: Starlette) -> AsyncIterator[tuple[Client, Client]]:
    """A client of each node, in one session."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(connect(one))
        await first.until("welcome")
        path = f"/ws/chat?session={first.session}"
        second = await stack.enter_async_context(connect(two, path))
        await second.until("welcome")
        yield first, second


async def check(store: Store, *clients: Client) -> None:
    """The log is whole, and each client saw all of it, once and in order."""
    session = clients[0].session
    assert session is not None
    epoch, records = await read_log(store, session)
    check_log(records)
    for client in clients:
        check_client(epoch, records, client.frames)


async def until_the_end(*clients: Client) -> None:
    for client in clients:
        await client.until(lambda frame: kind(frame) in TERMINAL)


async def test_a_client_of_another_node_sees_an_answer_as_it_is_written(
    server: RedisServer,
) -> None:
    name = token_hex(8)
    stores = [RedisStore(server.url, namespace=name) for _ in range(2)]
    # Without the bell it would be seen after a poll only.
    slow: dict[str, Any] = {"poll_interval": 60.0, "idle_poll_interval": 60.0}
    async with node(stores[0], **slow) as one, node(stores[1], **slow) as two:
        async with clients_of(one, two) as (first, second):
            await first.say("hello", "m1")
            await until_the_end(first, second)
            # And a message of the other node reaches the one that runs the agent.
            await second.say("again", "m2")
            await until_the_end(first, second)
            await check(stores[0], first, second)


async def test_killed_connections_delay_an_answer_and_lose_nothing_of_it(
    server: RedisServer,
) -> None:
    name = token_hex(8)
    one, two = (RedisStore(server.url, namespace=name) for _ in range(2))
    async with node(one) as first_app, node(two) as second_app:
        async with clients_of(first_app, second_app) as (first, second):
            await first.say("hello", "m1")
            for target in ("pubsub", "normal", "pubsub"):
                await asyncio.sleep(0.05)
                await asyncio.to_thread(server.command, f"CLIENT KILL TYPE {target} SKIPME yes")
                await asyncio.to_thread(server.command, "SCRIPT FLUSH")
            await until_the_end(first, second)
            await check(one, first, second)


async def test_an_answer_goes_on_after_its_server_was_paused(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        one, two = RedisStore(server.url), RedisStore(server.url)
        async with node(one, lease_ttl=10.0) as first_app, node(two) as second_app:
            async with clients_of(first_app, second_app) as (first, second):
                await first.say("hello", "m1")
                await first.until("TEXT_MESSAGE_CONTENT")
                server.pause()
                await asyncio.sleep(3.0)
                server.resume()
                await until_the_end(first, second)
                await check(one, first, second)


async def test_any_store_can_be_combined_with_the_bus(server: RedisServer, tmp_path: Path) -> None:
    name, path = token_hex(8), tmp_path / "chat.sqlite3"
    one, two = SQLiteStore(path), SQLiteStore(path)
    buses = [RedisBus(server.url, namespace=name) for _ in range(2)]
    slow: dict[str, Any] = {"poll_interval": 60.0, "idle_poll_interval": 60.0}
    async with node(one, buses[0], **slow) as first_app, node(two, buses[1], **slow) as second_app:
        async with clients_of(first_app, second_app) as (first, second):
            await first.say("hello", "m1")
            await until_the_end(first, second)
            await check(one, first, second)

"""Two gateways over one PostgreSQL server: any of them takes any client of any session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.backends.postgres import PostgresStore
from agentws.backends.redis import RedisBus
from agentws.bus import Bus
from agentws.testing.agents import Gate, Hang, Script
from agentws.testing.connect import Client, Closed, Frame, connect, kind, running
from agentws.testing.contract_base import begin, event, eventually
from agentws.testing.faults import LossyBus
from agentws.testing.oracle import TERMINAL, check_client, check_log, read_log
from tests.http import calling
from tests.processes import wait_until
from tests.runs.harness import accepted
from tests.runs.nodes import Node, client_of_each
from tests.servers.postgres import DURABLE, PostgresServer
from tests.servers.redis import RedisServer

from .postgres_nodes import two_gateways


async def check(store: PostgresStore, *clients: Client) -> list[str]:
    """Checks what the clients of one session saw; returns the types of the log's events."""
    session = clients[0].session
    assert session is not None
    epoch, records = await read_log(store, session)
    for client in clients:
        check_log(records, accepted=accepted(client.frames))
        check_client(epoch, records, client.frames, complete=True)
    return [record.data.decode().split('"type":"')[1].split('"')[0] for record in records]


async def ended(client: Client, count: int) -> None:
    """Returns when the client has seen the end of that many runs, perhaps before it asks."""
    while sum(one["type"] in TERMINAL for one in client.events()) < count:
        await client.until(lambda frame: kind(frame) in TERMINAL, within=20)


def notify(store: PostgresStore) -> Bus:
    return store.default_bus()


def deaf(store: PostgresStore) -> Bus:
    return LossyBus(store.default_bus(), drop=1.0)


def lossy(store: PostgresStore) -> Bus:
    return LossyBus(store.default_bus(), drop=0.5, seed=3)


@pytest.mark.parametrize("bus", [notify, lossy, deaf])
async def test_an_answer_is_read_and_stopped_through_another_gateway(
    postgres: PostgresServer, bus: Callable[[PostgresStore], Bus]
) -> None:
    gate = Gate()
    script = Script(named={"go": ["one ", gate, "two ", Hang()], "next": ["fine"]})
    async with two_gateways(postgres.url, script, bus=bus) as (first, second, store):
        async with client_of_each(first, second) as (one, other):
            await one.say("go", "m1")
            await other.until("TEXT_MESSAGE_CONTENT", within=20)
            gate.open()
            await other.until(lambda frame: "two" in str(frame), within=20)
            await other.ask({"type": "cancel", "id": "c1", "message": "m1"})
            for client in (one, other):
                ended = await client.until(lambda one: kind(one) in TERMINAL, within=20)
                assert ended["event"]["outcome"]["type"] == "cancelled"
            await other.say("next", "m2")
            for client in (one, other):
                assert await client.answer(within=20) == "fine"
            await check(store, one, other)


async def test_the_same_message_through_both_gateways_at_once_is_run_once(
    postgres: PostgresServer,
) -> None:
    async with two_gateways(postgres.url, Script("fine")) as (first, second, store):
        async with client_of_each(first, second) as (one, other):
            for number in range(5):
                await asyncio.gather(*(each.say("go", f"m{number}") for each in (one, other)))
                for each in (one, other):
                    await ended(each, number + 1)
            kinds = await check(store, one, other)
            assert kinds.count("message.accepted") == kinds.count("RUN_FINISHED") == 5


async def test_a_session_goes_on_after_its_gateway_and_its_connections_are_gone(
    postgres: PostgresServer,
) -> None:
    script = Script(named={"go": ["partial ", Hang()], "next": ["fine"]})
    async with two_gateways(postgres.url, script) as (first, second, store):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            first.freeze()
            await asyncio.to_thread(postgres.disconnect_all)
            await client.reconnect(second.app)
            event = (await client.until("RUN_ERROR", within=30))["event"]
            assert event["code"] == "interrupted"
            await client.say("next", "m2")
            assert await client.answer(within=20) == "fine"
            await check(store, client)


async def test_a_broadcast_reaches_the_clients_of_both_gateways(postgres: PostgresServer) -> None:
    async with two_gateways(postgres.url, Script("fine")) as (first, second, _):
        async with client_of_each(first, second) as (one, other):

            async def reached() -> None:
                await first.gateway.broadcast("Hello all")
                await other.until("notice", within=1)

            async with asyncio.timeout(20):
                while True:
                    try:
                        await reached()
                        break
                    except AssertionError:
                        continue
            await one.until("notice")


async def test_a_client_whose_log_was_restored_from_a_backup_is_told_so() -> None:
    with PostgresServer() as server:
        script = Script("fine")
        async with two_gateways(server.url, script) as (first, second, store):
            async with connect(first.app) as client:
                await client.say("go", "m1")
                await client.answer()
                await asyncio.to_thread(server.save, "night")
                await client.say("go", "m2")
                await client.answer(within=20)
                client.drop()
                await asyncio.to_thread(server.restore, "night")
                welcome = await welcomed(client, second)
                assert (welcome["resume"], welcome["reason"]) == ("snapshot", "future")


async def welcomed(client: Client, node: Node) -> Frame:
    """Reconnects as every client does: again, while the node has the old log in memory."""
    async with asyncio.timeout(20):
        while True:
            try:
                await client.reconnect(node.app)
                return await client.until("welcome", within=20)
            except Closed as closed:
                assert closed.code == 4503


def test_a_store_and_a_bus_are_closed_after_their_event_loop_and_opened_on_another(
    postgres: PostgresServer,
) -> None:
    store = PostgresStore(postgres.url, schema="left")
    bus = store.default_bus()

    async def use() -> None:
        await store.open()
        await bus.open()
        session = await begin(store)
        await asyncio.gather(*(store.append(session, [event(n)]) for n in range(9)))
        bus.publish("s:1", b"1")
        await asyncio.sleep(0.01)

    async def close() -> None:
        await bus.close()
        await store.close()

    asyncio.run(use())
    asyncio.run(close())
    asyncio.run(use())
    asyncio.run(close())
    wait_until(lambda: connections(postgres) == 0)


def connections(postgres: PostgresServer) -> int:
    rows = postgres.query("SELECT 1 FROM pg_stat_activity WHERE application_name = 'agentws'")
    return len(rows)


async def test_a_store_in_postgresql_goes_with_the_bus_of_a_redis_server(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "redis") as redis:
        bus = partial(RedisBus, f"redis://127.0.0.1:{redis.port}/0")
        script = Script(named={"go": ["one ", Hang()], "next": ["fine"]})
        async with two_gateways(postgres.url, script, bus=lambda store: bus()) as nodes:
            first, second, store = nodes
            async with client_of_each(first, second) as (one, other):
                await one.say("go", "m1")
                await other.until("TEXT_MESSAGE_CONTENT", within=20)
                await other.ask({"type": "cancel", "id": "c1", "message": "m1"})
                for client in (one, other):
                    await ended(client, 1)
                await check(store, one, other)


async def test_a_host_starts_while_the_server_is_down_and_serves_when_it_is_back() -> None:
    app = Starlette()
    with PostgresServer(DURABLE) as server:
        mount_agent_gateway(app, Script("fine"), store=PostgresStore(server.url))
        await asyncio.to_thread(server.stop)
        async with running(app, within=60.0):
            http = calling.client(app)
            assert (await http.get("/readyz")).status_code == 503
            await asyncio.to_thread(server.start)

            async def is_ready() -> bool:
                return (await http.get("/readyz")).status_code == 200

            await eventually(is_ready, within=30)
            assert (await http.get("/readyz")).json()["durability"] == "disk"
            async with connect(app) as one:
                await one.say("go", "m1")
                assert await one.answer(within=20) == "fine"

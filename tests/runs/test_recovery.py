"""Nodes that die, freeze and drain: every run ends once, and no message is lost."""

from __future__ import annotations

import asyncio

import pytest

from agentws.runs import engine
from agentws.store import Lease, Settled
from agentws.testing.agents import Gate, Hang, Script
from agentws.testing.connect import Client, connect, kind
from agentws.testing.oracle import check_client, check_log, read_log

from .harness import accepted
from .nodes import Node, client_of_each, memory_store, nodes

LOSSY = pytest.mark.parametrize("lossy", [None, 1.0], ids=["bus", "no bus"])


async def check(client: Client, node: Node) -> list[str]:
    """Checks what one client saw; returns the types of the log's events."""
    assert client.session is not None
    epoch, records = await read_log(node.store.store, client.session)
    check_log(records, accepted=accepted(client.frames))
    check_client(epoch, records, client.frames, complete=True)
    return [record.data.decode().split('"type":"')[1].split('"')[0] for record in records]


@LOSSY
async def test_an_orphaned_run_is_ended_by_another_node(lossy: float | None) -> None:
    async with nodes(Script("partial ", Hang()), lossy=lossy) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            first.freeze()
            await client.reconnect(second.app)
            event = (await client.until("RUN_ERROR", within=20))["event"]
            assert event["code"] == "interrupted"
            assert event["metadata"] == {"agentws": {"retryable": True}}
            kinds = await check(client, second)
            assert kinds[-2:] == ["TEXT_MESSAGE_END", "RUN_ERROR"]


@LOSSY
async def test_a_node_with_an_expired_lease_is_fenced(lossy: float | None) -> None:
    gate = Gate()
    script = Script(named={"go": ["partial ", gate, "too late"], "next": ["fine"]})
    async with nodes(script, lossy=lossy) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await gate.reached()
            await client.until("TEXT_MESSAGE_CONTENT")
            first.freeze()
            await client.reconnect(second.app)
            await client.until("RUN_ERROR", within=20)
            await client.say("next", "m2")
            assert await client.answer() == "fine"
            gate.open()
            first.thaw()
            await asyncio.sleep(20)
            await client.settle()
            await check(client, second)
            assert script.texts == ["go", "next"]


@LOSSY
async def test_a_node_that_follows_a_session_may_run_the_message_of_another_one(
    lossy: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the lease first: what happens to the node that accepted the message is no matter."""
    gate = Gate()
    script = Script("one ", gate, "two")
    async with nodes(script, lossy=lossy) as (first, second):
        take = first.store.lease

        async def lease_late(session: str, *, owner: str, ttl: float) -> Lease | None:
            await gate.reached()
            return await take(session, owner=owner, ttl=ttl)

        monkeypatch.setattr(first.store, "lease", lease_late)
        async with client_of_each(first, second) as (client, other):
            await client.say("go", "m1")
            await other.until("TEXT_MESSAGE_CONTENT")
            first.freeze()
            # As long as another node would need to take over.
            await asyncio.sleep(20)
            gate.open()
            await other.until("RUN_FINISHED")
            first.thaw()
            await client.until("RUN_FINISHED", within=20)
            kinds = await check(client, second)
            assert kinds.count("RUN_STARTED") == 1
            assert script.texts == ["go"]


@LOSSY
async def test_a_queued_message_of_a_dead_node_is_run_by_another(lossy: float | None) -> None:
    """The node dies after it accepted the message: another node runs it without a request."""
    script = Script("fine")
    store = memory_store()
    async with nodes(script, store=store, lossy=lossy) as (first, second):
        async with connect(first.app) as client:
            session = client.session or (await client.until("welcome"))["session"]
            await store.lease(session, owner="a node that died", ttl=7.0)
            await client.say("go", "m1")
            first.freeze()
            await client.reconnect(second.app)
            await client.until("RUN_FINISHED", within=20)
            await check(client, second)
            assert script.texts == ["go"]


@LOSSY
async def test_a_message_can_be_sent_through_another_node_during_a_run(lossy: float | None) -> None:
    gate = Gate()
    script = Script(named={"go": [gate, "one"], "next": ["two"]})
    async with nodes(script, lossy=lossy) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await gate.reached()
            await client.reconnect(second.app)
            await client.say("next", "m2")
            gate.open()
            await client.until(lambda frame: "two" in str(frame))
            await client.until("RUN_FINISHED")
            await check(client, second)
            assert script.texts == ["go", "next"]


@LOSSY
async def test_a_cancel_through_another_node_stops_the_run(lossy: float | None) -> None:
    async with nodes(Script("partial", Hang()), lossy=lossy) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            await client.reconnect(second.app)
            await client.ask({"type": "cancel", "id": "c1"})
            event = (await client.until("RUN_FINISHED"))["event"]
            assert event["outcome"] == {"type": "cancelled"}
            await check(client, second)


async def test_fifty_resends_on_three_nodes_are_deduplicated() -> None:
    script = Script("fine")
    async with nodes(script, 3) as made:
        clients = []
        session = None
        for number in range(51):
            url = "/ws/chat" if session is None else f"/ws/chat?session={session}"
            client = await Client(made[number % 3].app, url).open()
            session = (await client.until("welcome"))["session"]
            clients.append(client)
        answers = await asyncio.gather(*(one.say("go", "m1") for one in clients))
        assert {kind(answer) for answer in answers} == {"accepted"}
        assert len({answer["position"] for answer in answers}) == 1
        assert sum("duplicate" not in answer for answer in answers) == 1
        for client in clients:
            await client.until("RUN_FINISHED")
            await check(client, made[0])
        for client in clients:
            await client.aclose()
        assert script.texts == ["go"]


async def test_a_new_gateway_on_the_same_store_ends_orphaned_runs() -> None:
    store = memory_store()
    session = None
    async with nodes(Script("partial ", Hang()), 1, store=store) as (first,):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            first.freeze()
            client.drop()
            session, frames = client.session, client.frames
    async with nodes(Script("fine"), 1, store=store) as (second,):
        after = Client(second.app, f"/ws/chat?session={session}&after={frames[-1]['id']}")
        await after.open()
        await after.until("RUN_ERROR", within=20)
        epoch, records = await read_log(store, str(session))
        check_log(records)
        check_client(epoch, records, frames + after.frames, complete=True)
        await after.aclose()


async def test_a_lost_lease_stops_the_run() -> None:
    """Another node took the lease: every append of this one is refused by its fencing token."""
    script = Script(named={"go": ["partial ", Hang()], "next": ["fine"]})
    async with nodes(script) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            first.freeze()
            await client.reconnect(second.app)
            await client.until("RUN_ERROR", within=20)
            first.thaw()
            await asyncio.sleep(20)
            assert first.gateway.stats()["active_runs"] == 0
            await client.say("next", "m2")
            assert await client.answer() == "fine"
            await check(client, second)


async def test_a_drain_disconnects_clients_then_waits_for_runs_then_interrupts_the_rest() -> None:
    gate = Gate()
    script = Script(named={"short": [gate, "done"], "long": ["partial", Hang()]})
    async with nodes(script) as (first, second):
        async with connect(first.app) as short, connect(first.app) as long:
            await short.say("short", "m1")
            await long.say("long", "m1")
            await gate.reached()
            await long.until("TEXT_MESSAGE_CONTENT")
            draining = asyncio.create_task(first.gateway.drain())
            if not first.gateway.draining:
                await asyncio.sleep(0)
            refused = await short.say("more", "m2")
            assert (refused["code"], refused["retryable"]) == ("draining", True)
            for client in (short, long):
                bye = await client.until("bye")
                assert (bye["code"], bye["retryable"]) == (1012, True)
                assert (await client.wait_closed()).code == 1012
                # The run continues on its node; the client reads its events from another one.
                assert not draining.done()
                await client.reconnect(second.app)
            gate.open()
            assert await short.answer() == "done"
            error = (await long.until("RUN_ERROR"))["event"]
            assert error["code"] == "interrupted"
            await draining
            for client in (short, long):
                await client.say("short", "m3")
                assert await client.answer() == "done"
                await check(client, second)


async def test_the_lease_of_an_idle_session_is_released_for_other_nodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "LINGER", 0.1)
    async with nodes(Script("fine")) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.answer()
            await asyncio.sleep(1)
            head = await second.store.store.head(str(client.session))
            assert head.settled == Settled(head.position.seq)
            await client.reconnect(second.app)
            await client.say("go", "m2")
            await client.until("RUN_FINISHED", within=0.02)
            await check(client, second)

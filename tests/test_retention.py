"""Retention: expired sessions are deleted, and never one that is in use."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import Agent, MemoryStore, RunContext
from agentws.errors import NotFound
from agentws.gateway.retention import EARLY, Retention
from agentws.protocol.events import SessionUpdated
from agentws.store import Store
from agentws.testing.agents import Gate, Script
from agentws.testing.connect import connect
from agentws.testing.contract_base import eventually
from agentws.testing.faults import FaultyStore
from tests.limits import limits
from tests.runs.harness import talk
from tests.runs.nodes import Node, nodes

DAY = 86400.0


class Clock:
    """The time, plus what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def retention(node: Node, clock: Clock, **changes: Any) -> Retention:
    gateway = node.gateway
    return Retention(
        store=gateway.store,
        sessions=gateway.sessions,
        limits=limits(**changes),
        delete=gateway._parts.delete_session,
        clock=clock,
    )


async def exists(store: Store, session: str) -> bool:
    try:
        await store.info(session)
    except NotFound:
        return False
    return True


async def test_a_session_without_clients_is_deleted_when_its_retention_has_passed() -> None:
    store = MemoryStore()
    async with talk(Script("hello"), store=store) as one:
        await one.client.say("hi", "m1")
        await one.client.answer()
        await one.gateway.session(one.session).set_retention(0.2)
        one.client.drop()

        async def gone() -> bool:
            return not await exists(store, one.session)

        await eventually(gone)


async def test_the_gateways_retention_is_that_of_sessions_without_their_own() -> None:
    clock = Clock()
    # The leases of the runs expire by this clock, too.
    store = MemoryStore(clock=clock, monotonic=clock)
    async with nodes(Script("hello"), 1, store=store) as [node]:
        ids = []
        for own in (None, DAY, 3 * DAY):
            async with connect(node.app) as client:
                await client.say("hi", "m1")
                await client.answer()
                assert client.session is not None
                ids.append(client.session)
                await node.gateway.session(client.session).set_retention(own)
        clock.ahead = 1.5 * DAY
        await retention(node, clock).work()
        assert [await exists(store, id) for id in ids] == [True, False, True]
        clock.ahead = 2.5 * DAY
        await retention(node, clock, session_retention=2 * DAY).work()
        assert [await exists(store, id) for id in ids] == [False, False, True]


async def test_a_session_with_a_client_on_another_node_is_kept() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    async with nodes(Script("hello"), 2, store=store) as [here, there]:
        async with connect(there.app) as client:
            await client.until("welcome")
            session = client.session
            assert session is not None
            await there.gateway.session(session).set_retention(DAY)
            clock.ahead = DAY - EARLY / 2
            await retention(there, clock).work()
            clock.ahead = 1.5 * DAY
            await retention(here, clock).work()
            assert await exists(store, session)
        clock.ahead = 3 * DAY
        await retention(there, clock).work()
        assert not await exists(store, session)


async def test_a_session_is_not_deleted_while_its_answer_is_written() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    gate = Gate()
    async with nodes(Script("one ", gate, "two"), 1, store=store) as [node]:
        async with connect(node.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
        assert client.session is not None
        clock.ahead = 2 * DAY
        await retention(node, clock, session_retention=DAY).work()
        assert await exists(store, client.session)
        gate.open()


async def test_a_session_that_is_used_while_it_is_looked_at_is_kept() -> None:
    """The message comes after the search for expired sessions and before the deletion."""

    class Late(FaultyStore):
        async def stale(self, **given: Any) -> Any:
            found = await super().stale(**given)
            for info in found:
                await self.store.append(info.id, [b'{"event":{"type":"CUSTOM","name":"1"}}'])
            return found

    clock = Clock()
    memory = MemoryStore(clock=clock)
    async with talk(Script("hello"), store=memory) as one:
        session = one.session
        one.client.drop()
    clock.ahead = 2 * DAY
    async with nodes(Script("hello"), 1, store=Late(memory)) as [node]:
        await retention(node, clock, session_retention=DAY).work()
        assert await exists(memory, session)
        assert (await memory.head(session)).position.seq == 1


async def test_a_failed_deletion_is_tried_again() -> None:
    clock = Clock()
    memory = MemoryStore(clock=clock)
    store = FaultyStore(memory, fail_on=("delete", "stale"), times=2)
    async with talk(Script("hello"), store=memory) as one:
        session = one.session
        one.client.drop()
    clock.ahead = 2 * DAY
    async with talk(Script("hello"), store=store, session_retention=DAY):

        async def gone() -> bool:
            return not await exists(memory, session)

        await eventually(gone)


async def test_an_agent_sets_the_retention_of_its_session() -> None:
    class Short(Agent):
        async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
            assert ctx.session.retention is None
            yield SessionUpdated(retention=60)
            yield "kept for a minute"

    async with talk(Short) as one:
        await one.client.say("go", "m1")
        await one.client.answer()

        async def kept() -> bool:
            return (await one.store.info(one.session)).retention == 60.0

        await eventually(kept)
        await one.check()


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "60", True, 10**400])
async def test_a_retention_that_is_no_number_of_seconds_raises_type_error(wrong: Any) -> None:
    async with talk(Script("hello")) as one:
        handle = one.gateway.session(one.session)
        with pytest.raises(TypeError, match="retention"):
            await handle.set_retention(wrong)
        assert (await one.store.info(one.session)).retention is None
        with pytest.raises(NotFound):
            await one.gateway.session("ses_unknown_0123456789").set_retention(60)


async def test_every_node_learns_of_a_changed_retention() -> None:
    async with nodes(Script("hello"), 2) as [here, there], connect(there.app) as client:
        await client.until("welcome")
        assert client.session is not None
        await here.gateway.session(client.session).set_retention(DAY)
        event = (await client.until("session.updated"))["event"]
        assert event["retention"] == DAY
        session = await there.gateway.sessions.find(client.session)
        assert session.info.retention == DAY
        await here.gateway.session(client.session).set_retention(None)
        event = (await client.until("session.updated"))["event"]
        assert event["retention"] is None
        assert session.info.retention is None

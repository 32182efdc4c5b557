"""The local deadline of a lease: a node stops by its own clock, without asking the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agentws import Agent, RunContext
from agentws.errors import Fenced
from agentws.limits import Limits
from agentws.protocol import events as e
from agentws.runs.renewing import Renewal
from agentws.sessions.held import MARGIN, HeldLease
from agentws.sessions.session import Session
from agentws.store import SessionInfo
from agentws.testing.connect import connect
from agentws.testing.faults import FaultyStore

from .nodes import memory_store, nodes

INFO = SessionInfo(id="a-session-of-this-test", agent="agent", created=0.0, updated=0.0)
TTL = 5.0


def now() -> float:
    return asyncio.get_running_loop().time()


class Lasting(Agent):
    """Works for as long as it may; notes when it was cancelled."""

    stopped: float | None = None

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield "begun"
        try:
            await asyncio.sleep(1e6)
        finally:
            Lasting.stopped = now()


async def test_an_agent_is_cancelled_at_the_deadline_when_the_store_hangs() -> None:
    Lasting.stopped = None
    async with nodes(Lasting, lease_ttl=TTL) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            frozen = now()
            first.freeze()
            await client.reconnect(second.app)
            await client.until("RUN_ERROR", within=20)
            taken = now()
    assert Lasting.stopped is not None
    # Before the store would have given the lease to another node, and not before it had to.
    assert frozen + TTL * (1 - MARGIN) - TTL / 5 <= Lasting.stopped < taken
    assert Lasting.stopped <= frozen + TTL * (1 - MARGIN)


async def leased() -> tuple[FaultyStore, Renewal, Session, list[HeldLease]]:
    """A session under a lease that nothing renews."""
    store = FaultyStore(memory_store())
    await store.create(INFO, epoch="e1")
    session = await Session.load(INFO, store, tail_size=100)
    lost: list[HeldLease] = []
    renewal = Renewal(store=store, node="n1", limits=Limits(lease_ttl=TTL), lost=lost.append)
    renewal.begin()
    assert await renewal.take(session) is not None
    return store, renewal, session, lost


async def test_after_the_deadline_nothing_is_written_and_the_store_is_not_asked() -> None:
    store, renewal, session, lost = await leased()
    assert session.held is not None
    fence = session.held.lease.fence
    await session.append([e.Custom("before", 1)], run="run_1", fence=fence)
    await asyncio.sleep(TTL * (1 - MARGIN) - 0.01)
    assert not lost
    await session.append([e.Custom("in time", 1)], run="run_1", fence=fence)
    await asyncio.sleep(0.02)
    before = store.calls["append"]
    with pytest.raises(Fenced):
        await session.append([e.Custom("late", 1)], run="run_1", fence=fence)
    assert store.calls["append"] == before
    assert lost == [session.held]
    await renewal.aclose()


async def test_a_renewal_moves_the_deadline() -> None:
    _, renewal, session, lost = await leased()
    assert session.held is not None
    for _ in range(10):
        await asyncio.sleep(TTL / 2)
        await renewal.renew()
    session.held.check()
    assert not lost
    await renewal.aclose()


async def test_a_lease_that_was_lost_here_is_taken_with_a_new_fencing_token() -> None:
    """What was in flight when it was lost must not follow what is appended under the new one."""
    store, renewal, session, lost = await leased()
    assert session.held is not None
    old = session.held.lease.fence
    # Not expired in the store yet.
    await asyncio.sleep(TTL * (1 - MARGIN))
    assert lost
    lease = await renewal.take(session)
    assert lease is not None
    assert lease.fence != old
    with pytest.raises(Fenced):
        await store.append(INFO.id, [b"{}"], fence=old)
    await renewal.aclose()


async def test_a_lost_lease_is_reported_once() -> None:
    store, renewal, session, lost = await leased()
    await asyncio.sleep(TTL * 1.5)
    assert await store.lease(INFO.id, owner="another", ttl=TTL) is not None
    await renewal.renew()
    await asyncio.sleep(3 * TTL)
    assert lost == [session.held]
    await renewal.aclose()

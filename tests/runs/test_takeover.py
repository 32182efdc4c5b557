"""How soon another node takes over, and at what cost for the store. In virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agentws import AgentGateway
from agentws.backends.local import LocalBus
from agentws.backends.memory import MemoryStore
from agentws.errors import Unavailable
from agentws.protocol import frames as f
from agentws.protocol.codec import event_type
from agentws.runs.recovery import PAGE
from agentws.store import SessionInfo, Store
from agentws.testing.agents import Hang, Script
from agentws.testing.connect import connect
from agentws.testing.contract_base import a_session
from agentws.testing.faults import WrappedStore
from agentws.testing.oracle import read_log
from tests.limits import limits

from .nodes import memory_store, nodes

T = TypeVar("T")
TTL = 10.0


class Counting(WrappedStore):
    """Counts the calls of one node."""

    def __init__(self, store: Store, calls: Counter[str]) -> None:
        super().__init__(store)
        self._calls = calls

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        self._calls[operation] += 1
        return await call()

    async def close(self) -> None:
        """Does nothing: the store is shared."""


async def note_expiry(store: Store, session: str, seen: list[float]) -> None:
    """Adds the time when the session's lease had expired, unless it was taken at once."""
    while True:
        if session in await store.unsettled():
            seen.append(asyncio.get_running_loop().time())
            return
        await asyncio.sleep(0.005)


async def test_a_run_is_taken_over_within_a_second_after_its_lease_has_expired() -> None:
    chance = random.Random(7)
    for _ in range(10):
        async with nodes(Script("partial", Hang()), 3, lossy=1.0, lease_ttl=TTL) as made:
            async with connect(made[0].app) as client:
                await client.say("go", "m1")
                await client.until("TEXT_MESSAGE_CONTENT")
                await asyncio.sleep(chance.uniform(0, 3))
                loop = asyncio.get_running_loop()
                died = loop.time()
                made[0].freeze()
                await client.reconnect(made[1].app)
                seen: list[float] = []
                noting = note_expiry(made[0].store.store, str(client.session), seen)
                task = asyncio.create_task(noting)
                await client.until("RUN_ERROR", within=TTL + 5)
                task.cancel()
                assert loop.time() <= died + TTL + 1.0
                assert all(loop.time() <= expired + 1.0 for expired in seen)


async def orphaned(store: MemoryStore, count: int) -> list[str]:
    """Sessions with a message that no node has answered."""
    made = []
    dead = AgentGateway(None, store=store, bus=LocalBus())
    await dead.start()
    for _ in range(count):
        info, _ = await store.create(a_session(), epoch="e1")
        session = await dead.sessions.find(info.id)
        await dead.send(session, f.Send(id="m1", content="go"), identity=None)
        made.append(info.id)
    await dead.stop()
    return made


async def is_answered(store: Store, session: str) -> bool:
    _, records = await read_log(store, session)
    return any(event_type(record.data) == "RUN_FINISHED" for record in records)


async def test_many_nodes_share_many_orphans_without_asking_for_each_lease_many_times() -> None:
    store, calls = memory_store(), Counter[str]()
    await store.open()
    made = [
        AgentGateway(Script("fine"), store=Counting(store, calls), bus=LocalBus(), limits=limits())
        for _ in range(5)
    ]
    for one in made:
        await one.start()
    await asyncio.sleep(5)
    calls.clear()
    sessions = await orphaned(store, 2 * PAGE + 10)
    await asyncio.sleep(1.5)
    assert all([await is_answered(store, session) for session in sessions])
    assert len(sessions) <= calls["lease"] <= 2 * len(sessions)
    for one in made:
        await one.stop()


async def test_sessions_that_can_not_be_opened_do_not_hide_the_others() -> None:
    store = memory_store()
    await store.open()
    sessions = await orphaned(store, PAGE + 20)
    broken = set(sessions[:PAGE])

    class Broken(Counting):
        async def info(self, session: str) -> SessionInfo:
            if session in broken:
                raise Unavailable()
            return await super().info(session)

    shared = Broken(store, Counter[str]())
    one = AgentGateway(Script("fine"), store=shared, bus=LocalBus(), limits=limits())
    await one.start()
    await asyncio.sleep(5)
    assert all([await is_answered(store, session) for session in sessions[PAGE:]])
    await one.stop()

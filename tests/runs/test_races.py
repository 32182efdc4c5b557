"""Races: cancels, limits, ends and shutdowns that come during an append."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import pytest
from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.agents.agent import Agent
from agentws.agents.output import Output
from agentws.agents.run_context import RunContext
from agentws.backends.memory import MemoryStore
from agentws.errors import AgentwsError, StorageFull, Unavailable
from agentws.protocol import frames as f
from agentws.protocol.events import Custom, Overlap
from agentws.runs import engine
from agentws.runs.writer import RunWriter
from agentws.sessions.session import Session
from agentws.store import SessionInfo
from agentws.tasks.tasks import Tasks
from agentws.testing.agents import Gate, Hang, IgnoreCancel, Script
from agentws.testing.connect import connect, running
from agentws.testing.faults import FaultyStore, SlowStore, WrappedStore
from agentws.testing.oracle import read_log
from tests.limits import limits

from .harness import talk
from .nodes import memory_store

T = TypeVar("T")

CROSSING = (0.01, 0.05, 0.1, 0.19, 0.21)
"""Seconds from the acceptance of a message to the next request. An append takes 0.2,
so the run's start is appended before it, after it, or at nearly that moment. (At the same virtual
time either of two appends may be the first.)"""


@pytest.mark.parametrize("pause", CROSSING)
async def test_a_cancel_that_races_with_the_start_of_its_run_stops_it(pause: float) -> None:
    store = SlowStore(MemoryStore(), slow_on="append")
    async with talk(Script("one ", Hang()), store=store) as one:
        store.delay = 0.2
        await one.client.say("go", "m1")
        await asyncio.sleep(pause)
        await one.client.ask({"type": "cancel", "id": "c1", "message": "m1"})
        terminal = await one.terminal()
        assert terminal["event"]["outcome"]["type"] == "cancelled"
        await one.check()


@pytest.mark.parametrize("pause", CROSSING)
async def test_an_interrupting_message_that_races_with_the_start_of_a_run_stops_it(
    pause: float,
) -> None:
    store = SlowStore(MemoryStore(), slow_on="append")
    script = Script("fine", named={"go": ["one ", Hang()]})
    async with talk(script, store=store) as one:
        store.delay = 0.2
        await one.client.say("go", "m1")
        await asyncio.sleep(pause)
        await one.client.say("rather this", "m2", overlap="interrupt")
        first, second = await one.ended(2)
        assert first["outcome"]["type"] == "cancelled"
        assert second["outcome"]["type"] == "success"
        await one.check()


async def test_an_error_during_a_cancel_still_ends_the_run_cancelled() -> None:
    class Clumsy(Agent):
        async def run(self, ctx: RunContext) -> AsyncIterator[Output]:
            try:
                yield "one "
                await asyncio.get_running_loop().create_future()
            finally:
                raise RuntimeError("while closing")

    async with talk(Clumsy) as one:
        await one.client.say("go", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        await one.client.ask({"type": "cancel", "id": "c1"})
        assert (await one.terminal())["event"]["outcome"]["type"] == "cancelled"


async def test_a_message_that_races_with_the_release_of_the_lease_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No lease is released under a run: the message is answered completely, and once."""
    monkeypatch.setattr(engine, "LINGER", 0.5)
    store = SlowStore(memory_store(), slow_on=("append", "release"))
    app = Starlette()
    mount_agent_gateway(app, Script("fine"), store=store, limits=limits())
    async with running(app), connect(app) as a, connect(app) as b:
        for client in (a, b):
            await client.say("go", "m1")
            await client.answer()
        store.pause()
        await asyncio.sleep(1.0)
        assert store.waiting == 2
        sending = asyncio.create_task(b.say("and now", "m2"))
        await asyncio.sleep(0.1)
        store.resume()
        await sending
        assert await b.answer() == "fine"
        assert [one["type"] for one in b.events()].count("RUN_ERROR") == 0


async def test_an_agent_is_not_called_when_the_start_of_its_run_cant_be_appended() -> None:
    class Full(FaultyStore):
        async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
            if operation == "append" and self.calls["append"] == 1:
                self.fail("append", error=StorageFull)
            return await super().around(operation, call)

    script, store = Script("fine"), Full(memory_store())
    async with talk(script, store=store) as one:
        await one.client.say("go", "m1")
        await asyncio.sleep(60)
        assert not script.runs
        assert store.calls["lease"] <= 4, "the run is retried without backoff"
        Full.around = FaultyStore.around  # type: ignore[method-assign]
        store.heal()
        assert await one.client.answer() == "fine"
        assert len(script.runs) == 1
        await one.check()


async def test_a_deleted_session_is_not_retried() -> None:
    store = FaultyStore(memory_store())
    async with talk(Script(Hang()), store=store) as one:
        await one.client.say("go", "m1")
        await one.client.until("RUN_STARTED")
        session = await one.gateway.sessions.find(one.session)
        await one.gateway.delete(session)
        await asyncio.sleep(2)
        reads = store.calls["read"]
        await asyncio.sleep(10)
        assert store.calls["read"] == reads
        assert "waiting=0" in repr(one.gateway.runs)


async def test_pending_messages_count_for_the_limit_of_runs() -> None:
    store = SlowStore(MemoryStore(), slow_on="append", delay=0.05)
    async with talk(Script(Hang()), store=store, max_queued=3) as one:
        session = await one.gateway.sessions.find(one.session)

        async def send(number: int, overlap: Overlap) -> bool:
            frame = f.Send(id=f"m{number}", content="go", overlap=overlap)
            try:
                await one.gateway.send(session, frame, identity=None)
            except AgentwsError:
                return False
            return True

        assert sum(await asyncio.gather(*(send(n, "reject") for n in range(5)))) == 1
        await one.client.until("RUN_STARTED")
        assert sum(await asyncio.gather(*(send(n, "queue") for n in range(10, 30)))) == 3


async def test_a_draining_node_begins_no_run_that_waited_for_a_slot() -> None:
    store, gate = memory_store(), Gate()
    app = Starlette()
    script = Script("later", named={"first": [gate, "done"]})
    gateway = mount_agent_gateway(
        app, script, store=store, limits=limits(max_runs=1, drain_timeout=5.0)
    )
    async with running(app), connect(app) as a, connect(app) as b:
        await a.say("first", "m1")
        await gate.reached()
        await b.say("second", "m1")
        draining = asyncio.create_task(gateway.drain())
        await asyncio.sleep(0.1)
        gate.open()
        await draining
        log = (await read_log(store, str(b.session)))[1]
        assert len(log) == 1, "a run was begun although the node drains"


async def test_no_event_is_appended_after_a_failed_append() -> None:
    """An append that is cancelled at shutdown is not followed by later output."""
    store = SlowStore(MemoryStore(), slow_on="append")
    info = SessionInfo(id="a-session-of-this-test", agent="agent", created=0.0, updated=0.0)
    await store.create(info, epoch="e1")
    session = await Session.load(info, store, tail_size=10_000)
    lease = await store.lease(info.id, owner="me", ttl=60)
    assert lease is not None
    tasks = Tasks()
    writer = RunWriter(
        session,
        run="run_1",
        fence=lease.fence,
        tasks=tasks,
        context=contextvars.Context(),
        loop=asyncio.get_running_loop(),
        pace=lambda: 0.0,
        max_size=10_000,
        max_event_size=10_000,
    )
    store.pause()
    writer.write_event(Custom("first", 1))
    writer.flush()
    await asyncio.sleep(0.1)
    writer.write_event(Custom("second", 2))
    await tasks.aclose(grace=1.0)
    store.resume()
    await asyncio.sleep(1.0)
    assert (await store.head(info.id)).position.seq == 0
    with pytest.raises(Unavailable):
        await writer.drain()


async def test_a_run_whose_lease_was_lost_does_not_end_cancelled() -> None:
    class Forgetful(WrappedStore):
        """Reports every lease as lost, although no other node took one."""

        async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
            done = await call()
            return [] if operation == "renew" else done  # type: ignore[return-value]

    gate = Gate()
    async with talk(Script("one ", IgnoreCancel(gate)), store=Forgetful(memory_store())) as one:
        await one.client.say("go", "m1")
        terminal = (await one.terminal())["event"]
        assert (terminal["type"], terminal.get("code")) == ("RUN_ERROR", "interrupted")
        gate.open()


async def test_a_store_that_waits_is_always_called_from_a_task() -> None:
    """A timeout belongs to a task: a store may use one, so each call must run in a task."""

    class Impatient(WrappedStore):
        async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
            async with asyncio.timeout(5):
                await asyncio.sleep(0)
                return await call()

    store = Impatient(memory_store())
    async with talk(Script(*("word " for _ in range(50))), store=store) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "word " * 50
        async with connect(one.client.app, f"/ws/chat?session={one.session}") as other:
            await other.until("MESSAGES_SNAPSHOT")
        await one.check()

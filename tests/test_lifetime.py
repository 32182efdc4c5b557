"""A gateway starts, drains, stops and restarts, also by concurrent and repeated calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from agentws import AgentGateway, Limits, MemoryStore, SQLiteStore, mount_agent_gateway
from agentws.errors import Draining, Unavailable
from agentws.gateway.lifetime import Lifetime
from agentws.store import Store
from agentws.testing.agents import Gate, Script
from agentws.testing.connect import Client, connect, running
from agentws.testing.faults import FaultyStore, WrappedStore
from tests.virtual import anyio_backend as anyio_backend

T = TypeVar("T")


class Counting(WrappedStore):
    """A store that counts how often it was opened and closed."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.opened = self.closed = 0

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        return await call()

    async def open(self) -> None:
        self.opened += 1
        await super().open()

    async def close(self) -> None:
        self.closed += 1
        await super().close()


class Steps:
    """Records the steps of a lifetime."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.may_drain = asyncio.Event()
        self.lifetime = Lifetime(
            begin=self.begin, drain=self.drain, close=self.close, abandon=self.abandon
        )

    async def begin(self) -> None:
        await asyncio.sleep(1)
        self.done.append("begin")

    async def drain(self) -> None:
        self.done.append("drain")
        await self.may_drain.wait()
        self.done.append("drained")

    async def close(self) -> None:
        await asyncio.sleep(1)
        self.done.append("close")

    async def abandon(self) -> None:
        self.done.append("abandon")


# Lifetime


async def test_concurrent_starts_begin_once() -> None:
    steps = Steps()
    await asyncio.gather(*(steps.lifetime.start(again=again) for again in (False, True, False)))
    assert steps.done == ["begin"] and steps.lifetime.state.started


async def test_a_stop_waits_for_the_running_drain() -> None:
    steps = Steps()
    await steps.lifetime.start(again=False)
    draining = [asyncio.create_task(steps.lifetime.drain()) for _ in range(2)]
    stopping = [asyncio.create_task(steps.lifetime.stop()) for _ in range(2)]
    await asyncio.sleep(5)
    assert steps.done == ["begin", "drain"] and steps.lifetime.state.started
    steps.may_drain.set()
    await asyncio.gather(*draining, *stopping)
    assert steps.done == ["begin", "drain", "drained", "close"]
    assert steps.lifetime.state.draining and not steps.lifetime.state.started


async def test_a_drain_continues_when_its_caller_times_out() -> None:
    steps = Steps()
    await steps.lifetime.start(again=False)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await steps.lifetime.drain()
    steps.may_drain.set()
    await steps.lifetime.stop()
    assert steps.done == ["begin", "drain", "drained", "close"]


async def test_a_failed_drain_raises_and_everything_is_closed() -> None:
    steps = Steps()

    async def failing() -> None:
        raise OSError("as ordered")

    lifetime = Lifetime(begin=steps.begin, drain=failing, close=steps.close, abandon=steps.abandon)
    await lifetime.start(again=False)
    with pytest.raises(OSError, match="as ordered"):
        await lifetime.stop()
    assert steps.done == ["begin", "close"] and not lifetime.state.started


async def test_a_start_during_or_after_a_stop_raises_draining() -> None:
    steps = Steps()
    steps.may_drain.set()
    await steps.lifetime.start(again=False)
    stopping = asyncio.create_task(steps.lifetime.stop())
    await asyncio.sleep(0.5)
    assert not steps.lifetime.state.started
    with pytest.raises(Draining):
        await steps.lifetime.start(again=False)
    await stopping
    with pytest.raises(Draining):
        await steps.lifetime.start(again=False)
    assert steps.done.count("begin") == 1


async def test_a_start_again_waits_for_the_stop() -> None:
    steps = Steps()
    steps.may_drain.set()
    await steps.lifetime.start(again=False)
    stopping = asyncio.create_task(steps.lifetime.stop())
    await asyncio.sleep(0.5)
    await steps.lifetime.start(again=True)
    assert steps.done == ["begin", "drain", "drained", "close", "begin"]
    assert steps.lifetime.state.started and not steps.lifetime.state.draining
    await stopping


async def test_a_start_again_after_a_drain_closes_before_it_begins() -> None:
    steps = Steps()
    steps.may_drain.set()
    await steps.lifetime.start(again=False)
    await steps.lifetime.drain()
    await steps.lifetime.start(again=True)
    assert steps.done == ["begin", "drain", "drained", "close", "begin"]
    await steps.lifetime.stop()
    assert steps.done[-2:] == ["drained", "close"]


async def test_drain_and_stop_before_a_start_do_nothing() -> None:
    steps = Steps()
    await steps.lifetime.drain()
    await steps.lifetime.stop()
    assert steps.done == []
    await steps.lifetime.start(again=False)
    assert steps.lifetime.state.started and not steps.lifetime.state.draining


# Gateway


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_an_app_can_be_stopped_and_started_again(kind: str, tmp_path: Path) -> None:
    """Each time on another event loop, as in the tests of a host."""
    store: Store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "log.db")
    app = Starlette()
    gateway = mount_agent_gateway(app, Script("fine"), store=store)
    for number in range(3):
        with TestClient(app) as http:
            assert http.get("/readyz").json()["status"] == "ready"
            with http.websocket_connect("/ws/chat") as client:
                client.send_text(f"hello {number}")
                assert client.receive_text()
        assert gateway.draining and not gateway.started


async def test_a_restarted_gateway_ends_the_run_that_was_interrupted() -> None:
    gate = Gate()
    app = Starlette()
    limits = Limits(drain_timeout=0.1, cancel_grace=0.1)
    script = Script(named={"go": ["partial ", gate], "more": ["fine"]})
    gateway = mount_agent_gateway(app, script, limits=limits)
    async with running(app):
        client = await Client(app).open()
        await client.say("go", "m1")
        await client.until("TEXT_MESSAGE_CONTENT")
    async with running(app):
        await client.reconnect()
        assert (await client.until("RUN_ERROR"))["event"]["code"] == "interrupted"
        await client.say("more", "m2")
        assert await client.answer() == "fine"
        assert gateway.stats()["active_runs"] == 0
        assert await gateway.broadcast("once") == 1
        await client.until("notice")
        await client.aclose()
        assert sum(frame.get("type") == "notice" for frame in client.frames) == 1


async def test_late_calls_do_not_reopen_a_stopped_gateway() -> None:
    store = Counting(MemoryStore())
    gateway = mount_agent_gateway(Starlette(), Script("fine"), store=store)
    async with running(gateway):
        pass
    assert (store.opened, store.closed) == (1, 1)
    for late in (
        gateway.broadcast("late"),
        gateway.session("ses_of_nobody_at_all").push("late"),
        gateway.session("ses_of_nobody_at_all").messages(),
    ):
        with pytest.raises(Draining):
            await late
    async with connect(gateway) as client:
        bye = await client.until("bye")
        assert (bye["reason"], bye["retryable"]) == ("draining", True)
    assert (store.opened, store.closed) == (1, 1)


async def test_the_store_is_closed_when_the_bus_fails_to_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Counting(MemoryStore())
    gateway = AgentGateway(None, store=store)

    async def refuse() -> None:
        raise Unavailable("no bus")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.bus, "open", refuse)
        with pytest.raises(Unavailable):
            await gateway.start()
    assert (store.opened, store.closed) == (1, 1) and not gateway.started
    await gateway.start()
    await gateway.stop()
    assert (store.opened, store.closed) == (2, 2)


async def test_the_store_is_closed_when_the_bus_fails_to_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Counting(MemoryStore())
    gateway = AgentGateway(None, store=store)
    await gateway.start()

    async def refuse() -> None:
        raise OSError("as ordered")

    monkeypatch.setattr(gateway.bus, "close", refuse)
    with pytest.raises(OSError, match="as ordered"):
        await gateway.stop()
    assert store.closed == 1


async def test_a_drain_times_out_when_the_store_hangs() -> None:
    store = FaultyStore(MemoryStore())
    app = Starlette()
    gateway = mount_agent_gateway(app, Script("fine"), store=store)
    never = asyncio.Event()

    async def hang(*_: Any, **__: Any) -> None:
        await never.wait()

    async with running(app, within=100):
        async with connect(app) as client:
            await client.say("go", "m1")
            await client.answer()
        store.release = hang  # type: ignore[method-assign]
        begun = asyncio.get_running_loop().time()
        await gateway.drain()
        assert asyncio.get_running_loop().time() - begun <= 22

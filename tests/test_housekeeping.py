"""Housekeeping: leases are renewed even if other work is slow, and old runs are compacted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from starlette.applications import Starlette

from agentws import Limits, MemoryStore, mount_agent_gateway
from agentws.errors import Unavailable
from agentws.protocol.merge import merge
from agentws.sessions.compaction import PER_TURN
from agentws.store import Store
from agentws.testing.agents import Script, Sleep
from agentws.testing.connect import Client, running
from agentws.testing.faults import WrappedStore
from agentws.testing.oracle import read_log
from tests.virtual import anyio_backend as anyio_backend
from tests.words import words

T = TypeVar("T")
WINDOW = 100.0
LIMITS = Limits(replay_window=WINDOW, gather=0.0, max_gather=0.0, message_rate=1e6)


class RecordingStore(WrappedStore):
    """Records the operations; delays or refuses some of them."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(monotonic=lambda: asyncio.get_running_loop().time()))
        self.slow: dict[str, float] = {}
        self.refused: set[str] = set()
        self.asked: list[str] = []

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        self.asked.append(operation)
        await asyncio.sleep(self.slow.get(operation, 0.0))
        if operation in self.refused:
            raise Unavailable("as ordered")
        return await call()


async def answered_session(app: Starlette, *, times: int = 1) -> str:
    """Creates a session with this many answers; returns its id after the client has left."""
    client = await Client(app).open()
    for number in range(times):
        await client.say("go", f"m{number}")
        await client.answer()
    client.drop()
    assert client.session is not None
    return client.session


async def is_folded(store: Store, session: str) -> bool:
    _, records = await read_log(store, session)
    return len(merge(records)) == len(records)


@pytest.mark.parametrize("slow", ["stale", "release", "heads", "compact"])
async def test_leases_are_renewed_while_a_housekeeping_round_is_slow(slow: str) -> None:
    store = RecordingStore()
    store.slow[slow] = 60.0
    limits = Limits(lease_ttl=5.0, session_retention=1e9, replay_window=1.0)
    app = Starlette()
    mount_agent_gateway(app, Script("a ", Sleep(40), "b"), store=store, limits=limits)
    async with running(app, within=1000):
        await asyncio.sleep(1)
        client = await Client(app).open()
        other = await Client(app).open()
        await other.say("/help", "m1")
        await client.say("go", "m1")
        terminal = await client.until("RUN_FINISHED", within=100)
        assert terminal["event"]["type"] == "RUN_FINISHED"
        client.drop()
        other.drop()


async def test_a_run_is_compacted_after_its_replay_window() -> None:
    store, app = MemoryStore(), Starlette()
    mount_agent_gateway(app, Script(*words(5)), store=store, limits=LIMITS)
    async with running(app):
        session = await answered_session(app)
        await asyncio.sleep(WINDOW - 2)
        assert not await is_folded(store, session)
        await asyncio.sleep(4)
        assert await is_folded(store, session)


async def test_a_compaction_that_failed_is_tried_again() -> None:
    store, app = RecordingStore(), Starlette()
    mount_agent_gateway(app, Script(*words(5)), store=store, limits=LIMITS)
    async with running(app):
        session = await answered_session(app)
        store.refused.add("compact")
        await asyncio.sleep(WINDOW + 20)
        assert not await is_folded(store, session)
        store.refused.clear()
        await asyncio.sleep(5)
        assert await is_folded(store, session)


async def test_a_failing_compaction_does_not_delay_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, app = MemoryStore(), Starlette()
    mount_agent_gateway(app, Script(*words(5)), store=store, limits=LIMITS)
    compact = store.compact
    async with running(app):
        first, second = await answered_session(app), await answered_session(app)

        async def failing(session: str, **given: object) -> None:
            if session == first:
                raise ValueError("as ordered")
            await compact(session, **given)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "compact", failing)
        await asyncio.sleep(WINDOW + 20)
        assert not await is_folded(store, first) and await is_folded(store, second)
        assert "as ordered" in caplog.text


async def test_old_runs_of_another_process_are_compacted_after_their_session_is_loaded() -> None:
    store = MemoryStore()
    for _ in range(2):
        app = Starlette()
        gateway = mount_agent_gateway(app, Script(*words(5)), store=store, limits=LIMITS)
        async with running(app):
            session = await answered_session(app, times=3)
            if _ == 0:
                old = session
                continue
            assert not await is_folded(store, old)
            await gateway.session(old).messages()
            await asyncio.sleep(WINDOW - 20)
            # Still in the replay window, which begins when the session is loaded.
            assert not await is_folded(store, old)
            await asyncio.sleep(22)
            assert await is_folded(store, old)


async def test_an_active_run_of_another_node_is_not_compacted() -> None:
    store = MemoryStore(monotonic=lambda: asyncio.get_running_loop().time())
    first, second = Starlette(), Starlette()
    long = Script(*words(100_000))
    mount_agent_gateway(first, long, store=store, limits=LIMITS)
    other = mount_agent_gateway(second, long, store=store, limits=LIMITS)
    async with running(first, within=100), running(second, within=100):
        client = await Client(first).open()
        await client.say("go", "m1")
        await client.until("TEXT_MESSAGE_CONTENT")
        client.drop()
        assert client.session is not None
        await other.session(client.session).messages()
        await asyncio.sleep(WINDOW + 5)
        _, records = await read_log(store, client.session)
        assert len(records) - len(merge(records)) > 1000


async def test_a_compacted_session_is_read_once_after_it_is_loaded() -> None:
    store, app = RecordingStore(), Starlette()
    gateway = mount_agent_gateway(app, Script(*words(5)), store=store, limits=LIMITS)
    async with running(app):
        session = await answered_session(app, times=2)
        await asyncio.sleep(WINDOW + 70)
        assert len(gateway.sessions) == 0
        await gateway.session(session).messages()
        del store.asked[:]
        await asyncio.sleep(10 * WINDOW)
        assert store.asked.count("read_back") == 1 and "compact" not in store.asked
        assert len(gateway.sessions) == 0


async def test_many_due_compactions_are_spread_over_several_rounds() -> None:
    store, app = RecordingStore(), Starlette()
    mount_agent_gateway(app, Script(*words(2)), store=store, limits=LIMITS)
    async with running(app):
        for _ in range(PER_TURN + 20):
            await answered_session(app)
        await asyncio.sleep(WINDOW + 60)
        assert store.asked.count("compact") == PER_TURN + 20

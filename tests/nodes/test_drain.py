"""A drain: what clients are told, what runs get, and who takes the sessions over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest
from starlette.applications import Starlette

from agentws import Limits, mount_agent_gateway
from agentws.events import AssistantMessage
from agentws.gateway import composition
from agentws.store import Appended, Store
from agentws.tasks.tasks import Tasks
from agentws.testing.agents import Gate, Hang, IgnoreCancel, Script, Sleep
from agentws.testing.connect import Client, connect, kind, running
from agentws.testing.faults import SlowStore, WrappedStore
from agentws.transports.connections import RECONNECTS, RETRY_AFTER, Connections
from tests.http.calling import KEY, client
from tests.limits import limits
from tests.runs.nodes import memory_store, nodes

T = TypeVar("T")
ADMIN = {"x-api-key": KEY}
TOTAL = 10.0
"""Seconds that a shutdown may take besides ``drain_timeout``."""
SLOW: dict[str, Any] = {"poll_interval": 60.0, "idle_poll_interval": 60.0}
"""Housekeeping comes too late to help."""


def now() -> float:
    return asyncio.get_running_loop().time()


# Over HTTP


async def test_an_admin_drains_a_node_and_is_told_when_it_can_be_stopped() -> None:
    gateway = mount_agent_gateway(
        Starlette(), Script(Sleep(3), "fine"), store=memory_store(), admin_key=KEY
    )
    async with running(gateway, within=60):
        http = client(gateway)
        assert (await http.get("/readyz")).status_code == 200
        async with connect(gateway) as one:
            await one.say("hello", "m1")
            draining = asyncio.create_task(http.post("/admin/drain", headers=ADMIN))
            bye = await one.until("bye")
            assert (bye["code"], bye["reason"], bye["retryable"]) == (1012, "draining", True)
            assert bye["retryAfter"] == pytest.approx(RETRY_AFTER, abs=0.1)
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "draining")
            assert (await http.get("/health")).status_code == 200
            assert not draining.done()
            await refused_everywhere(gateway, http)
        response = await draining
        assert response.json()["status"] == "drained"
        assert 2.5 <= response.json()["seconds"] <= 4
        again = await http.post("/admin/drain", headers=ADMIN)
        assert again.json() == {"status": "drained", "seconds": 0.0}


async def refused_everywhere(app: Any, http: Any) -> None:
    """No new work: what is refused says when to come back."""
    async with connect(app) as late:
        assert (await late.until("bye"))["retryAfter"] > 0
        assert (await late.wait_closed()).code == 4503
    body = {"id": "m9", "content": "late"}
    response = await http.post("/sessions/ses_0123456789abcdef/messages", json=body)
    assert (response.status_code, response.json()["code"]) == (503, "draining")
    assert int(response.headers["retry-after"]) >= 1


async def test_a_drain_is_for_admins() -> None:
    gateway = mount_agent_gateway(Starlette(), Script("fine"), admin_key=KEY)
    without_key = mount_agent_gateway(Starlette(), Script("fine"))
    async with running(gateway), running(without_key):
        for headers in ({}, {"x-api-key": "wrong"}):
            response = await client(gateway).post("/admin/drain", headers=headers)
            assert response.status_code == 401
        assert (await client(without_key).post("/admin/drain", headers=ADMIN)).status_code == 404
        assert not gateway.draining and not without_key.draining


async def test_a_drain_goes_on_when_its_caller_does_not_wait() -> None:
    gateway = mount_agent_gateway(
        Starlette(), Script(Hang()), store=memory_store(), admin_key=KEY, limits=limits()
    )
    async with running(gateway), connect(gateway) as one:
        await one.say("hello", "m1")
        asked = asyncio.create_task(client(gateway).post("/admin/drain", headers=ADMIN))
        await one.until("bye")
        asked.cancel()
        await gateway.drain()
        assert gateway.stats()["active_runs"] == 0


# What clients are told


class Peer:
    session: Any = None
    encoder: Any = None
    closing = False
    retry_after: float | None = None

    def send_frames(self, parts: Any) -> None:
        raise AssertionError

    def close_for_restart(self, retry_after: float) -> None:
        self.closing, self.retry_after = True, retry_after


async def told(count: int, **changes: Any) -> list[float]:
    given = Limits(max_connections=10**6, max_connections_per_address=10**6, **changes)
    connections = Connections(given, Tasks())
    peers = [Peer() for _ in range(count)]
    for peer in peers:
        connections.add(peer, connections.admit(owner=None, address="here"))
    await connections.close_all()
    return [peer.retry_after for peer in peers if peer.retry_after is not None]


async def test_many_clients_are_told_to_come_back_at_different_times() -> None:
    window = Limits().drain_window
    after = await told(5_000)
    assert RETRY_AFTER <= min(after) and max(after) <= RETRY_AFTER + window
    busiest = max(sum(t <= one < t + 1 for one in after) for t in range(int(window) + 1))
    assert busiest <= 2.5 * RECONNECTS


async def test_a_few_clients_are_told_to_come_back_soon() -> None:
    assert max(await told(5)) <= RETRY_AFTER + 5 / RECONNECTS


async def test_the_window_is_a_limit_and_never_longer_than_the_drain() -> None:
    assert max(await told(5_000, drain_window=1.0)) <= RETRY_AFTER + 1.0
    begun = now()
    await told(50_000, drain_window=60.0, drain_timeout=2.0)
    assert now() - begun <= 2.0 + 1.1


# Who goes on


async def test_a_queued_message_is_answered_by_another_node_as_soon_as_the_lease_is_released() -> (
    None
):
    """Not after the lease has expired, nor with the next scan for orphaned runs."""
    gate = Gate()
    script = Script(named={"first": [gate, "one"], "second": ["two"]})
    async with nodes(script, lease_ttl=600.0, drain_timeout=5.0, **SLOW) as (first, second):
        async with connect(first.app) as one:
            await one.say("first", "m1")
            await gate.reached()
            await one.say("second", "m2")
            draining = asyncio.create_task(first.gateway.drain())
            await one.until("bye")
            gate.open()
            begun = now()
            await answered(second.store, str(one.session), "two")
            assert now() - begun <= 0.1
            await draining


async def answered(store: Store, session: str, text: str) -> None:
    """Waits until the log has the text. Nobody follows the session on any node."""
    async with asyncio.timeout(100):
        while not any(text.encode() in one.data for one in await store.read(session)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class SlowStart(WrappedStore):
    """Holds the first event of a run back until ``may_start``."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.starting = asyncio.Event()
        self.may_start = asyncio.Event()

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        return await call()

    async def append(self, session: str, events: Sequence[bytes], **options: Any) -> Appended:
        if any(b"RUN_STARTED" in one for one in events):
            self.starting.set()
            await self.may_start.wait()
        return await super().append(session, events, **options)


@pytest.mark.parametrize("late", [False, True], ids=["in time", "too late"])
async def test_a_run_that_begins_as_the_drain_does_has_the_time_of_the_others(late: bool) -> None:
    store = SlowStart(memory_store())
    given = limits(drain_timeout=5.0, cancel_grace=1.0)
    gateway = mount_agent_gateway(Starlette(), Script("fine"), store=store, limits=given)
    async with running(gateway, within=60), connect(gateway) as one:
        await one.say("hello", "m1")
        await store.starting.wait()
        draining = asyncio.create_task(gateway.drain())
        await one.until("bye")
        await asyncio.sleep(5.5 if late else 0.5)
        store.may_start.set()
        await draining
        messages = await gateway.session(str(one.session)).messages()
        said = [each.content for each in messages if isinstance(each, AssistantMessage)]
        assert said == ([] if late else ["fine"])
        assert gateway.stats()["active_runs"] == 0


async def test_an_idle_session_is_handed_over_while_other_runs_go_on() -> None:
    script = Script(named={"long": [Hang()], "short": ["fine"]})
    async with nodes(script, lease_ttl=600.0, drain_timeout=30.0, **SLOW) as (first, second):
        async with connect(first.app) as long, connect(first.app) as short:
            await long.say("long", "m1")
            await short.say("short", "m1")
            assert await short.answer() == "fine"
            draining = asyncio.create_task(first.gateway.drain())
            await short.until("bye")
            await short.reconnect(second.app)
            begun = now()
            await short.say("short", "m2")
            assert await short.answer() == "fine"
            assert now() - begun <= 0.5 and not draining.done()
            await draining


async def test_another_node_takes_over_even_if_the_bell_is_lost() -> None:
    script = Script(named={"first": ["one"], "second": ["two"]})
    async with nodes(script, lossy=1.0) as (first, second):
        async with connect(first.app) as one:
            await one.say("first", "m1")
            assert await one.answer() == "one"
            await first.gateway.drain()
            await one.reconnect(second.app)
            await one.say("second", "m2")
            assert await one.answer(within=60) == "two"


# How long it takes


@pytest.mark.parametrize("hangs", [False, True], ids=["a good store", "a store that hangs"])
async def test_a_shutdown_takes_10_seconds_more_than_runs_get(hangs: bool) -> None:
    """With an agent that ignores its cancellation, and with a peer that reads nothing."""
    zombie = Gate()
    store = SlowStore(memory_store())
    app = Starlette()
    gateway = mount_agent_gateway(
        app, Script("begun", IgnoreCancel(zombie)), store=store, limits=Limits()
    )
    begun = 0.0
    async with running(app, within=300):
        one, silent = await Client(app).open(), await Client(app).open()
        await one.say("hello", "m1")
        await one.until("TEXT_MESSAGE_CONTENT")
        silent.pause()
        begun = now()
        if hangs:
            store.pause()
    assert now() - begun <= gateway.limits.drain_timeout + TOTAL
    zombie.open()
    store.resume()
    await asyncio.sleep(1)
    for each in (one, silent):
        each.drop()


async def test_a_long_grace_for_agents_does_not_make_a_shutdown_longer() -> None:
    zombie = Gate()
    app = Starlette()
    given = Limits(cancel_grace=60.0, drain_timeout=3.0)
    mount_agent_gateway(app, Script(IgnoreCancel(zombie)), store=memory_store(), limits=given)
    async with running(app, within=300):
        async with connect(app) as one:
            await one.say("hello", "m1")
            await one.until("RUN_STARTED")
        begun = now()
    assert now() - begun <= given.drain_timeout + TOTAL
    zombie.open()
    await asyncio.sleep(1)


async def test_the_steps_of_a_drain_have_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs get their time, then they are cancelled and awaited, then the leases are released."""
    order: list[str] = []
    store = memory_store()

    async def release(lease: Any, before: Any = store.release) -> None:
        order.append("released")
        await before(lease)

    monkeypatch.setattr(store, "release", release)
    app = Starlette()
    gateway = mount_agent_gateway(
        app, Script("partial ", Hang()), store=store, limits=limits(drain_timeout=2.0)
    )
    async with running(app), connect(app) as one:
        await one.say("hello", "m1")
        await one.until("TEXT_MESSAGE_CONTENT")
        reader = gateway.session(str(one.session))
        begun = now()
        draining = asyncio.create_task(gateway.drain())
        await one.until("bye")
        order.append("bye")
        await asyncio.sleep(1.5)
        assert gateway.stats()["active_runs"] == 1
        await draining
        assert 2.0 <= now() - begun <= 2.0 + composition.SETTLING
        assert order == ["bye", "released"]
        (_, answer) = await reader.messages()
        assert answer.content == "partial "
        assert kind(one.frames[-1]) == "bye"

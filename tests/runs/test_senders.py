"""Senders in a shared session: their identity, and the context variables of their runs."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from agentws import AgentGateway, Identity, RunContext, mount_agent_gateway
from agentws.backends.local import LocalBus
from agentws.backends.memory import MemoryStore
from agentws.bus import Bus
from agentws.protocol.frames import Send
from agentws.store import Store
from agentws.testing.connect import Client, connect, kind, running
from agentws.testing.faults import FaultyStore, SlowStore, WrappedStore
from tests.limits import limits

from .nodes import memory_store

T = TypeVar("T")

SESSION = "a-session-that-people-share"
tenant: ContextVar[str] = ContextVar("tenant", default="nobody's")


class Seen:
    """An agent that records the identity and the context variables of each run."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, str | None, str, str]] = []

    async def __call__(self, ctx: RunContext) -> AsyncIterator[str]:
        who = ctx.identity
        role = "" if who is None else str(who.claims.get("role", ""))
        self.runs.append((ctx.text, None if who is None else who.id, role, tenant.get()))
        tenant.set("the last run's")
        if ctx.text == "wait":
            async for step in self._wait():
                yield step
        yield "fine"

    async def _wait(self) -> AsyncIterator[str]:
        yield "waiting "
        await asyncio.sleep(5)


def by_header(connection: HTTPConnection) -> Identity:
    return Identity(connection.headers["x-user"], {"role": connection.headers.get("x-role", "")})


def in_a_context(app: Any) -> Any:
    """A host's middleware: sets a context variable for each request."""

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        names = [value for name, value in scope.get("headers", ()) if name == b"x-user"]
        if names:
            tenant.set(names[0].decode() + "'s")
        await app(scope, receive, send)

    return middleware


@asynccontextmanager
async def shared(
    agent: Any, *, store: Store | None = None, bus: Bus | None = None
) -> AsyncIterator[tuple[Any, AgentGateway]]:
    app = Starlette()

    async def run(ctx: RunContext) -> AsyncIterator[str]:
        async for item in agent(ctx):
            yield item

    gateway = mount_agent_gateway(
        app,
        run,
        store=store,
        bus=bus,
        limits=limits(),
        authenticate=by_header,
        authorize=lambda identity, info, action: True,
    )
    async with running(app):
        yield in_a_context(app), gateway


def person(app: Any, name: str, role: str = "") -> Any:
    url = f"/ws/chat?session={SESSION}"
    return connect(app, url, headers={"x-user": name, "x-role": role})


async def ended(client: Client, count: int) -> None:
    """Reads until that many runs have ended."""
    while sum(one["type"] == "RUN_FINISHED" for one in client.events()) < count:
        await client.until("RUN_FINISHED")


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("slow", [0.0, 0.05])
async def test_an_agent_gets_the_first_sender_of_a_message_id_that_is_sent_again(
    same: bool, slow: float
) -> None:
    seen = Seen()
    store = SlowStore(memory_store(), slow_on="append", delay=slow) if slow else None
    async with shared(seen, store=store) as (app, _):
        async with person(app, "ada", "admin") as ada, person(app, "bob", "guest") as bob:
            await ada.say("wait", "m1")
            await ada.say("from ada", "m2")
            for _ in range(2):
                text = "from ada" if same else "from bob"
                refused = await bob.say(text, "m2")
                assert (kind(refused), refused["code"]) == ("error", "idempotency_conflict")
            await bob.say("from bob", "m3")
            again = await ada.say("from ada", "m2")
            assert (kind(again), again["duplicate"]) == ("accepted", True)
            await ended(ada, 3)
    assert [run[:3] for run in seen.runs] == [
        ("wait", "ada", "admin"),
        ("from ada", "ada", "admin"),
        ("from bob", "bob", "guest"),
    ]


async def test_a_message_belongs_to_the_sender_that_wins_the_race_for_its_id() -> None:
    """Both appends are in progress; bob's began first and is delayed."""

    class Overtaken(WrappedStore):
        first = True

        async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
            if operation == "append" and self.first:
                self.first = False
                await asyncio.sleep(1)
            return await call()

    seen, store = Seen(), Overtaken(memory_store())
    bus = LocalBus()
    async with (
        shared(seen, store=store, bus=bus) as (here, _),
        shared(seen, store=store.store, bus=bus) as (there, _),
        person(here, "bob", "guest") as bob,
        person(there, "ada", "admin") as ada,
    ):
        losing = asyncio.create_task(bob.say("go", "m1"))
        await asyncio.sleep(0.1)
        await ada.say("go", "m1")
        assert (await losing)["code"] == "idempotency_conflict"
        await ended(ada, 1)
    assert [(run[1], run[2]) for run in seen.runs] in ([("ada", "admin")], [("ada", "")])


async def test_a_message_whose_acknowledgement_was_lost_keeps_its_sender() -> None:
    seen, store = Seen(), FaultyStore(memory_store())
    async with shared(seen, store=store) as (app, _), person(app, "ada", "admin") as ada:
        await ada.until("welcome")
        store.fail("append", times=1, after=True)
        assert (await ada.say("go", "m1"))["code"] == "unavailable"
        assert (await ada.say("go", "m1"))["duplicate"]
        await ended(ada, 1)
    assert [run[:3] for run in seen.runs] == [("go", "ada", "admin")]


async def test_a_message_whose_sender_disconnected_keeps_its_sender() -> None:
    """The request is cancelled, as by a host's timeout; the store still makes the append."""

    class CutOff(WrappedStore):
        waiting = False

        async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
            done = await call()
            if operation == "append" and self.waiting:
                self.waiting = False
                await asyncio.sleep(5)
            return done

    seen, store = Seen(), CutOff(memory_store())
    async with shared(seen, store=store) as (app, gateway), person(app, "ada", "admin") as ada:
        await ada.until("welcome")
        store.waiting = True
        session = await gateway.sessions.find(SESSION)
        ada_herself = Identity("ada", {"role": "admin"})
        sending = asyncio.create_task(
            gateway.send(session, Send(id="m1", content="go"), identity=ada_herself)
        )
        await asyncio.sleep(0.1)
        sending.cancel()
        await asyncio.wait({sending})
        assert (await ada.say("go", "m1"))["duplicate"]
        await ended(ada, 1)
        assert session.senders is None
    assert [run[:3] for run in seen.runs] == [("go", "ada", "admin")]


async def test_few_senders_are_remembered_while_the_store_is_unavailable() -> None:
    seen, store = Seen(), FaultyStore(memory_store())
    async with shared(seen, store=store) as (app, gateway), person(app, "ada", "admin") as ada:
        session = await gateway.sessions.find(str(ada.session or SESSION))
        store.fail("append", times=50)
        for number in range(50):
            refused = await ada.say("go", f"m{number % 20}")
            assert refused["code"] == "unavailable"
            # Too many errors in a row would close the connection.
            await ada.say("/ping", f"p{number}")
        assert session.senders is not None
        assert len(session.senders) <= 8
        await ada.say("go", "m1")
        await ended(ada, 1)
    assert [run[:3] for run in seen.runs] == [("go", "ada", "admin")]


@pytest.mark.parametrize("slow", [0.0, 0.05])
async def test_a_run_has_the_context_variables_of_its_sender(slow: float) -> None:
    seen = Seen()
    store = SlowStore(memory_store(), slow_on="append", delay=slow) if slow else None
    async with shared(seen, store=store) as (app, _):
        async with person(app, "ada") as ada, person(app, "bob") as bob:
            for number in range(2):
                await ada.say("hi", f"a{number}")
                await bob.say("hi", f"b{number}")
                await ended(ada, 2 * (number + 1))
            await ada.say("wait", "m1")
            await bob.say("queued", "m2")
            await ended(ada, 6)
    assert [(run[1], run[3]) for run in seen.runs] == [
        ("ada", "ada's"),
        ("bob", "bob's"),
        ("ada", "ada's"),
        ("bob", "bob's"),
        ("ada", "ada's"),
        ("bob", "bob's"),
    ]


async def test_a_run_for_a_message_of_another_node_has_no_context_variables() -> None:
    seen, store, bus = Seen(), memory_store(), LocalBus()
    async with (
        shared(seen, store=store, bus=bus) as (here, _),
        shared(seen, store=store, bus=bus) as (there, _),
        person(here, "ada", "admin") as ada,
        person(there, "bob", "guest") as bob,
    ):
        # The node of the first message holds the lease, and runs what the other one accepts.
        await ada.say("wait", "m1")
        await bob.say("hi", "m2")
        await ended(ada, 2)
    assert [run[1:] for run in seen.runs] == [
        ("ada", "admin", "ada's"),
        ("bob", "", "nobody's"),
    ]


async def test_the_context_of_an_ended_run_is_released() -> None:
    class Request:
        """Stands for a large object in a context variable."""

    request: ContextVar[Request] = ContextVar("request")
    alive: weakref.WeakSet[Request] = weakref.WeakSet()
    seen = Seen()
    async with shared(seen) as (app, gateway), person(app, "ada") as ada:
        session = await gateway.sessions.find(SESSION)
        for number in range(5):
            context, made = copy_context(), Request()
            alive.add(made)
            context.run(request.set, made)
            frame = Send(id=f"m{number}", content="hi")
            sending = gateway.send(session, frame, identity=Identity("ada"))
            await asyncio.get_running_loop().create_task(sending, context=context)
            await ended(ada, number + 1)
        del context, made, sending
        # The session's task ends when its lease is released, soon after the last run.
        await asyncio.sleep(5)
        gc.collect()
        assert len(seen.runs) == 5
        assert len(alive) == 0


async def test_tasks_that_outlive_a_request_do_not_inherit_its_context() -> None:
    """The first request opens the store and starts the housekeeping."""
    found: dict[str, set[str]] = {}

    class Watching(WrappedStore):
        async def open(self) -> None:
            found.setdefault("open", set()).add(tenant.get())
            await super().open()

        async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
            found.setdefault(operation, set()).add(tenant.get())
            return await call()

    app = Starlette()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "fine"

    store = Watching(memory_store())
    gateway = mount_agent_gateway(
        app, agent, store=store, limits=limits(lease_ttl=1.0), authenticate=by_header
    )
    # Without a lifespan: the first request starts the gateway.
    async with person(in_a_context(app), "ada") as ada:
        await ada.say("hi", "m1")
        await ended(ada, 1)
        await asyncio.sleep(10)
    await gateway.stop()
    for operation in ("open", "renew", "release", "unsettled", "heads"):
        assert found.get(operation, {"nobody's"}) == {"nobody's"}, operation
    assert found["create"] == {"ada's"}


async def test_a_send_runs_in_the_context_of_its_own_connection() -> None:
    sent: list[tuple[str, str]] = []

    def watching(app: Any) -> Any:
        async def middleware(scope: Any, receive: Any, send: Any) -> None:
            name = dict(scope["headers"])[b"x-user"].decode() if "headers" in scope else ""

            async def telling(message: Any) -> None:
                async with asyncio.timeout(5):
                    sent.append((name, tenant.get()))
                    await send(message)

            await app(scope, receive, telling if name else send)

        return middleware

    seen = Seen()
    async with shared(seen) as (app, _):
        app = in_a_context(watching(app))
        async with person(app, "ada") as ada, person(app, "bob") as bob:
            await ada.say("hi", "m1")
            await ended(ada, 1)
            await ended(bob, 1)
    assert {one for one in sent if one[0]} == {("ada", "ada's"), ("bob", "bob's")}


@pytest.mark.parametrize("value", [42, "42"])
async def test_an_identity_can_be_a_number(value: Any) -> None:
    app, store = Starlette(), MemoryStore()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        assert ctx.identity is not None
        yield ctx.identity.id

    mount_agent_gateway(
        app, agent, store=store, limits=limits(), authenticate=lambda connection: value
    )
    async with running(app), connect(app) as client:
        await client.say("hi", "m1")
        assert await client.answer() == "42"
        assert (await store.info(str(client.session))).owner == "42"


@pytest.mark.parametrize("value", [{"sub": "ada"}, object(), True, b"ada", ["ada"]])
async def test_an_invalid_identity_is_logged_as_an_error(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = Starlette()
    mount_agent_gateway(
        app, Seen().__call__, limits=limits(), authenticate=lambda connection: value
    )
    async with running(app), connect(app) as client:
        bye = await client.until("bye")
        assert bye["code"] == 4500
    assert "authenticate returned" in caplog.text
    assert "expected an Identity, or its id as a str, an int or a UUID" in caplog.text


@pytest.mark.parametrize("answer", [None, 1, "yes", object()])
async def test_an_authorize_result_that_is_not_a_bool_is_logged_as_an_error(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = Starlette()
    mount_agent_gateway(
        app,
        Seen().__call__,
        limits=limits(),
        authorize=lambda identity, info, action: answer,
    )
    async with running(app), connect(app) as client:
        assert (await client.until("bye"))["code"] == 4403
    assert f"authorize returned {type(answer).__name__}; expected True or False" in caplog.text


async def test_only_its_sender_edits_a_message_and_it_keeps_its_sender() -> None:
    seen = Seen()
    async with shared(seen) as (app, _):
        async with person(app, "ada", "admin") as ada, person(app, "bob", "guest") as bob:
            await ada.say("wait", "m1")
            await ada.say("from ada", "m2")
            edit = {"type": "edit_queued", "id": "e1", "message": "m2", "content": "edited"}
            refused = await bob.ask(edit)
            assert refused["code"] == "forbidden"
            await bob.say("from bob", "m3")
            for id in ("e2", "e3"):
                assert kind(await ada.ask({**edit, "id": id, "content": id})) == "accepted"
            moved = await bob.ask({"type": "promote", "id": "p1", "message": "m3"})
            assert kind(moved) == "accepted"
            await ended(ada, 3)
    assert seen.runs[1:] == [
        ("from bob", "bob", "guest", "bob's"),
        ("e3", "ada", "admin", "ada's"),
    ]


async def test_nobody_else_steers_the_run_of_a_sender() -> None:
    """The agent acts for the run's sender: another one's message waits for a run of its own."""
    runs: list[tuple[str, str | None, list[Any]]] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "waiting "
        if ctx.text == "wait":
            await asyncio.sleep(5)
        who = None if ctx.identity is None else ctx.identity.id
        runs.append((ctx.text, who, [one.content for one in await ctx.steered()]))

    async with shared(agent) as (app, _):
        async with person(app, "ada") as ada, person(app, "bob") as bob:
            await ada.say("wait", "m1")
            await ada.until("RUN_STARTED")
            await bob.say("from bob", "m2", overlap="steer")
            await ada.say("from ada", "m3", overlap="steer")
            await ended(ada, 2)
            steered = [one for one in ada.events() if one["type"] == "message.steered"]
    assert [(one["messageId"], one["outcome"], one.get("reason")) for one in steered] == [
        ("m2", "undelivered", "other_sender"),
        ("m3", "delivered", None),
    ]
    assert runs == [("wait", "ada", ["from ada"]), ("from bob", "bob", [])]

"""The context variables of senders: runs have them, nothing else keeps them."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

import pytest
from starlette.applications import Starlette

from agentws import Identity, RunContext, mount_agent_gateway
from agentws.backends.local import LocalBus
from agentws.protocol.frames import Send
from agentws.testing.faults import SlowStore, WrappedStore
from tests.limits import limits

from .nodes import memory_store
from .senders import SESSION, Seen, by_header, ended, in_a_context, person, shared, tenant

T = TypeVar("T")


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

        async def send(frame: Send) -> None:
            await gateway.send(session, frame, identity=Identity("ada"))

        for number in range(5):
            context, made = copy_context(), Request()
            alive.add(made)
            context.run(request.set, made)
            sending = send(Send(id=f"m{number}", content="hi"))
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

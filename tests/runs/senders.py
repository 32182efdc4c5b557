"""People who share a session, each with an identity and a context of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from agentws import AgentGateway, Identity, RunContext, mount_agent_gateway
from agentws.bus import Bus
from agentws.store import Store
from agentws.testing.connect import Client, connect, running
from tests.limits import limits

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

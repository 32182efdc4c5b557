"""Mounting: the only file that touches the host."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .agents.factory import AgentFactory
from .auth import Authenticate, Authorize
from .bus import Bus
from .gateway import AgentGateway
from .limits import Limits
from .store import Store
from .transports.guard import Guard
from .transports.routes import gateway_routes

logger: Final = logging.getLogger("agentws")

STARTUP: Final = "lifespan.startup"
SHUTDOWN: Final = "lifespan.shutdown"
DRAINS: Final = "agentws.drain"
"""In the lifespan's state, where the server wants to know: what to await before it closes."""


def mount_agent_gateway(
    app: ASGIApp,
    agent_factory: AgentFactory,
    *,
    prefix: str = "",
    store: Store | None = None,
    bus: Bus | None = None,
    authenticate: Authenticate | None = None,
    authorize: Authorize | None = None,
    allowed_origins: Sequence[str] | None = None,
    allowed_hosts: Sequence[str] | None = None,
    admin_key: str | None = None,
    limits: Limits | None = None,
    page: bool = True,
) -> AgentGateway:
    """Puts ``agent_factory``'s agents behind ``{prefix}/ws/chat`` and HTTP routes of ``app``.

    On Starlette and FastAPI the routes are added to ``app``, after its own, and the gateway starts
    and stops with its lifespan. Any other ASGI app is wrapped: serve what is returned, which is an
    ASGI app in every case (``app = mount_agent_gateway(app, Echo)``).

    ``authenticate``: says who is on a connection; without it sessions are anonymous and belong to
    whoever holds their id. ``authorize``: decides instead of plain ownership. ``allowed_origins``:
    browser origins besides the host's own, for WebSocket and CORS; ``"*"`` allows all.
    ``allowed_hosts``: Host headers served; by default any, or loopback names only where the server
    listens on the loopback. ``admin_key``: opens ``/broadcast`` and the other admin routes, which
    are off without one. ``page``: whether ``GET {prefix}/`` is the chat page.

    Raises TypeError for an ``agent_factory`` of another kind, ValueError for a bad ``prefix``.
    """
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        raise ValueError(f"prefix is {prefix!r}; expected '' or '/path' without a slash at the end")
    gateway = AgentGateway(
        agent_factory,
        store=store,
        bus=bus,
        authenticate=authenticate,
        authorize=authorize,
        admin_key=admin_key,
        limits=limits,
    )
    guard = Guard(allowed_origins=allowed_origins, allowed_hosts=allowed_hosts)
    routes = gateway_routes(gateway, guard, prefix=prefix, page=page)
    if isinstance(app, Starlette):
        app.router.routes.extend(routes)
        app.router.lifespan_context = _composed(app.router.lifespan_context, gateway)
        _offer_drain(app.router, gateway)
        gateway.app = app
    else:
        gateway.app = _Wrapped(app, routes, gateway)
    return gateway


Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def _composed(host: Lifespan, gateway: AgentGateway) -> Lifespan:
    """The host up, the gateway up, the gateway down, the host down; the host's state is kept."""

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with host(app) as state:
            await gateway.start(again=True)
            try:
                yield state
            finally:
                await gateway.stop()

    return lifespan


def _offer_drain(router: Router, gateway: AgentGateway) -> None:
    """Lets a server that asks for it drain the gateway before it closes its connections.

    The lifespan's context is not told of the scope, in which the server asks.
    """
    answer = router.lifespan

    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        _answer_offer(scope, gateway)
        await answer(scope, receive, send)

    router.lifespan = lifespan  # type: ignore[method-assign]


def _answer_offer(scope: Scope, gateway: AgentGateway) -> None:
    drains = scope.get("state", {}).get(DRAINS)
    if drains is not None:
        drains.append(gateway.drain)


class _Wrapped:
    """A host that is no Starlette app, with the gateway's routes in front of it."""

    def __init__(self, host: ASGIApp, routes: Sequence[BaseRoute], gateway: AgentGateway) -> None:
        self._host = host
        self._routes = Router(routes)
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif any(route.matches(scope)[0] is not Match.NONE for route in self._routes.routes):
            await self._routes(scope, receive, send)
        else:
            await self._host(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        _answer_offer(scope, self._gateway)
        await _Inside(self._gateway, receive, send).run(self._host, scope)


class _Inside:
    """The gateway's lifespan inside a host's: the host comes up before it and goes down after it.

    A host that raises or returns without an answer has no lifespan, by the ASGI specification; the
    gateway's own is then all there is.
    """

    def __init__(self, gateway: AgentGateway, receive: Receive, send: Send) -> None:
        self._gateway = gateway
        self._receive = receive
        self._send = send
        self._received: set[str] = set()
        self._answered: set[str] = set()
        self._start_failed: str | None = None
        self._stop_failed: str | None = None

    async def run(self, host: ASGIApp, scope: Scope) -> None:
        try:
            await host(scope, self._to_host, self._from_host)
        except Exception as error:
            if f"{STARTUP}.failed" in self._answered or SHUTDOWN in self._received:
                raise
            if self._answered or self._start_failed is not None:
                logger.exception("the host's lifespan ended with an error")
            else:
                logger.info("the host has no lifespan: %r", error)
        await self._go_on()

    async def _go_on(self) -> None:
        """Does what the host has left undone."""
        if not self._answered:
            if self._start_failed is None:
                await self._take_until(STARTUP)
                await self._start()
            await self._answer(STARTUP, self._start_failed)
        if f"{STARTUP}.failed" in self._answered:
            return
        await self._take_until(SHUTDOWN)
        if not self._answered & {f"{SHUTDOWN}.complete", f"{SHUTDOWN}.failed"}:
            await self._answer(SHUTDOWN, self._stop_failed)

    async def _to_host(self) -> Message:
        if self._start_failed is not None:
            # The host is up and the gateway is not: it goes down again.
            return {"type": SHUTDOWN}
        return await self._take()

    async def _from_host(self, message: Message) -> None:
        if self._start_failed is not None:
            return
        if message["type"] == f"{STARTUP}.complete":
            await self._start()
            if self._start_failed is not None:
                return
        if message["type"] == f"{SHUTDOWN}.complete":
            await self._answer(SHUTDOWN, self._stop_failed)
        else:
            self._answered.add(message["type"])
            await self._send(message)

    async def _answer(self, to: str, failure: str | None) -> None:
        message = {"type": f"{to}.complete"}
        if failure is not None:
            message = {"type": f"{to}.failed", "message": failure}
        self._answered.add(message["type"])
        await self._send(message)

    async def _take_until(self, wanted: str) -> None:
        while wanted not in self._received:
            await self._take()

    async def _take(self) -> Message:
        message = await self._receive()
        self._received.add(message["type"])
        if message["type"] == SHUTDOWN:
            try:
                await self._gateway.stop()
            except Exception:
                self._stop_failed = traceback.format_exc()
        return message

    async def _start(self) -> None:
        try:
            await self._gateway.start(again=True)
        except Exception:
            self._start_failed = traceback.format_exc()

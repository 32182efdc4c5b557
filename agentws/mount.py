"""Mounting: the only file that touches the host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

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
            await gateway.start()
            try:
                yield state
            finally:
                await gateway.stop()

    return lifespan


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
        """The host's lifespan with ours inside; a host that has none gets ours alone."""
        answered = False

        async def relay(message: Message) -> None:
            nonlocal answered
            answered = True
            if message["type"] == "lifespan.startup.complete":
                await self._gateway.start()
            await send(message)

        async def listen() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._gateway.stop()
            return message

        try:
            await self._host(scope, listen, relay)
        except Exception:
            # The ASGI specification: a host that raises here has no lifespan.
            if answered:
                raise
            await self._gateway.start()
            await send({"type": "lifespan.startup.complete"})
            await listen()
            await send({"type": "lifespan.shutdown.complete"})

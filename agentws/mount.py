"""Mounting: the only file that touches the host."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.types import ASGIApp

from .agents.factory import AgentFactory
from .auth import Authenticate, Authorize
from .bus import Bus
from .gateway.gateway import AgentGateway
from .hosting.lifespan import within
from .hosting.placing import place
from .hosting.wrapping import Wrapped
from .limits import Limits
from .store import Store
from .transports.guard import Guard
from .transports.prefix import check_prefix
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

    On Starlette and FastAPI the routes are added to ``app``, and the gateway starts and stops with
    its lifespan. A route of ``app`` that takes the same path keeps it if it says as much of it
    (``/health``), and not if it says less (``/{path:path}``, files at ``/``). Any other ASGI app is
    wrapped: serve what is returned, which is an ASGI app in every case
    (``app = mount_agent_gateway(app, Echo)``).

    ``prefix``: a path before every route. It may have parameters, as in ``/t/{tenant}``, which
    ``authenticate`` finds in ``connection.path_params``.

    ``authenticate``: says who is on a connection; without it sessions are anonymous and belong to
    whoever holds their id. ``authorize``: decides instead of plain ownership. ``allowed_origins``:
    browser origins besides the host's own, for WebSocket and CORS; ``"*"`` allows all.
    ``allowed_hosts``: Host headers served; by default any, or loopback names only where the server
    listens on the loopback. ``admin_key``: opens ``/broadcast`` and the other admin routes, which
    are off without one. ``page``: whether ``GET {prefix}/`` is the chat page.

    Raises TypeError for an ``agent_factory`` of another kind, ValueError for a prefix, an origin or
    a host that could never match, and for a prefix whose WebSocket path is taken.
    """
    check_prefix(prefix)
    if agent_factory is None:
        raise TypeError("agent_factory is None; expected an agent, as there is nothing to serve")
    gateway = AgentGateway(
        agent_factory,
        store=store,
        bus=bus,
        authenticate=authenticate,
        authorize=authorize,
        admin_key=admin_key,
        limits=limits,
    )
    if isinstance(app, AgentGateway) and isinstance(app.app, Starlette):
        # Beside that gateway and not around it, so that a path which both want is seen.
        app = app.app
    guard = Guard(allowed_origins=allowed_origins, allowed_hosts=allowed_hosts)
    routes = gateway_routes(gateway, guard, prefix=prefix, page=page)
    if isinstance(app, Starlette):
        place(app.router.routes, routes, prefix=prefix)
        within(app.router, gateway)
        gateway.app = app
    else:
        gateway.app = Wrapped(app, routes, gateway)
    return gateway

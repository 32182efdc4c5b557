"""``mount_agent_gateway``: adds a gateway to the host application, or wraps that application."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.routing import Router
from starlette.types import ASGIApp

from .agents.factory import AgentFactory
from .auth import Authenticate, Authorize, MaySubscribe
from .bus import Bus
from .files import FileStore
from .gateway.gateway import AgentGateway
from .hosting.lifespan import join_lifespan
from .hosting.precedence import insert_routes
from .hosting.wrapped import WrappedHost, check_app
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
    files: FileStore | None = None,
    authenticate: Authenticate | None = None,
    authorize: Authorize | None = None,
    may_subscribe: MaySubscribe | None = None,
    allowed_origins: Sequence[str] | None = None,
    allowed_hosts: Sequence[str] | None = None,
    admin_key: str | None = None,
    limits: Limits | None = None,
    page: bool = True,
    node: str | None = None,
) -> AgentGateway:
    """Puts ``agent_factory``'s agents behind ``{prefix}/ws/chat`` and HTTP routes of ``app``.

    On Starlette, FastAPI and their routers the routes are added to ``app``, and the gateway starts
    and stops with its lifespan. A route of ``app`` that matches the same path keeps it if it is at
    least as specific (``/health``), but not if it is less specific (``/{path:path}``, files at
    ``/``). Any other ASGI app is wrapped. The returned gateway is an ASGI app in every case: serve
    it (``app = mount_agent_gateway(app, Echo)``).

    ``prefix``: a path before every route. It may have parameters, as in ``/t/{tenant}``;
    ``authenticate`` finds them in ``connection.path_params``.

    ``files``: where files are kept, such as ``DiskFileStore("files")``; without it there are no
    uploads and no attachments. ``authenticate``: returns the identity on a connection. Without it
    sessions are anonymous, and whoever knows a session's id may use it. ``authorize``: decides
    instead of plain ownership. ``may_subscribe``: whether an identity may follow a topic, by the
    topic's name; without it nobody may.
    ``allowed_origins``: browser origins besides the host's own, for WebSocket and CORS; ``"*"``
    allows all. ``allowed_hosts``: the Host headers to serve. The default is any; if the server
    listens on a loopback address, only loopback names. ``admin_key``: enables ``/broadcast`` and
    the other admin routes, which are off without one. ``limits``: every size, rate and time.
    ``page``: whether ``GET {prefix}/`` is the chat page. ``node``: the name of this process among
    those that share the store, such as a host name; random by default. A second live process with
    the same name does not start.

    The host starts even while the store can't be reached: the gateway is then not ready, and tries
    again. It ends the host's start with ``Misconfigured`` only where that would not help.

    Raises TypeError for an option of another type. Raises ValueError for a prefix, an
    origin or a host that could never match, for a prefix whose WebSocket path is taken, and for a
    name of a node that is not valid.
    """
    check_app(app)
    check_prefix(prefix)
    if not isinstance(page, bool):
        raise TypeError(f"page is {page!r:.100}; expected True or False")
    if agent_factory is None:
        raise TypeError("agent_factory is None; expected an agent, or a callable that makes one")
    gateway = AgentGateway(
        agent_factory,
        store=store,
        bus=bus,
        files=files,
        authenticate=authenticate,
        authorize=authorize,
        may_subscribe=may_subscribe,
        admin_key=admin_key,
        limits=limits,
        node=node,
    )
    if isinstance(app, AgentGateway) and isinstance(app.app, Starlette | Router):
        # Into that gateway's app, not around it: so a path that both have is detected.
        app = app.app
    guard = Guard(allowed_origins=allowed_origins, allowed_hosts=allowed_hosts)
    router = app.router if isinstance(app, Starlette) else app
    if isinstance(router, Router):
        _join(router, gateway, guard, prefix=prefix, page=page)
        gateway.app = app
    else:
        routes = gateway_routes(gateway, guard, prefix=prefix, page=page)
        gateway.app = WrappedHost(app, routes, gateway)
    return gateway


def _join(router: Router, gateway: AgentGateway, guard: Guard, *, prefix: str, page: bool) -> None:
    # FastAPI puts the own prefix of a router before its routes' paths, where it makes them.
    prefix = str(getattr(router, "prefix", "")) + prefix
    routes = gateway_routes(gateway, guard, prefix=prefix, page=page)
    insert_routes(router.routes, routes, prefix=prefix)
    join_lifespan(router, gateway)

"""The routes of one gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, WebSocketRoute

from .guard import Guard
from .http import Operation, http_routes
from .identifying import Identifying
from .page import PageRoutes
from .server_routes import ServerRoutes
from .session_routes import SessionRoutes
from .sse import EventRoutes
from .websocket import WebSocketTransport

if TYPE_CHECKING:
    from ..gateway.gateway import AgentGateway


def gateway_routes(
    gateway: AgentGateway, guard: Guard, *, prefix: str, page: bool
) -> list[BaseRoute]:
    """Every route of the gateway under ``prefix``, the page only where it is wanted."""
    # One for both, so that keys can't be tried at twice the pace.
    identifying = Identifying(gateway)
    asked = operations(gateway, prefix=prefix, page=page)
    return [
        WebSocketRoute(f"{prefix}/ws/chat", WebSocketTransport(gateway, guard, identifying)),
        *http_routes(gateway, guard, identifying, asked, prefix=prefix),
    ]


def operations(gateway: AgentGateway, *, prefix: str, page: bool) -> list[Operation]:
    """What can be asked over HTTP."""
    return [
        *ServerRoutes(gateway).operations(),
        *SessionRoutes(gateway).operations(),
        *EventRoutes(gateway).operations(),
        *(PageRoutes(prefix).operations() if page else ()),
    ]

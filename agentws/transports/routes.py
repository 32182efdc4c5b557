"""The routes of one gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, WebSocketRoute

from .guard import Guard
from .http import http_routes
from .websocket import WebSocketTransport

if TYPE_CHECKING:
    from ..gateway import AgentGateway


def gateway_routes(
    gateway: AgentGateway, guard: Guard, *, prefix: str, page: bool
) -> list[BaseRoute]:
    """Every route of the gateway under ``prefix``, the page only where it is wanted."""
    websocket = WebSocketTransport(gateway, guard)
    return [
        WebSocketRoute(f"{prefix}/ws/chat", websocket),
        *http_routes(gateway, guard, prefix=prefix, page=page),
    ]

"""The routes of one gateway: those of the node and its sessions, and those of every wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import ASGIApp

from ..errors import BadRequest
from ..protocol.wires import WIRES
from ..protocol.wires.wire import AskWire, SocketWire, StreamWire, Wire
from .ask import AskRoutes
from .export import ExportRoutes
from .file_routes import FileRoutes
from .guard import Guard
from .http import Call, Operation, http_routes
from .identifying import Identifying
from .page import PageRoutes
from .presence import PresenceRoutes
from .server_routes import ServerRoutes
from .service import NodeService
from .session_routes import SessionRoutes
from .sse import EventRoutes
from .state_routes import StateRoutes
from .topic_routes import TopicRoutes
from .websocket import WebSocketTransport


def gateway_routes(
    service: NodeService, guard: Guard, *, prefix: str, page: bool
) -> list[BaseRoute]:
    """Every route of the gateway under ``prefix``; the chat page only with ``page``."""
    # One for WebSocket and HTTP, so that keys can't be tried at twice the pace.
    identifying = Identifying(service)
    sockets = [
        WebSocketRoute(prefix + path, WebSocketTransport(service, guard, identifying, wires))
        for path, wires in _by_path(WIRES).items()
    ]
    asked = operations(service, prefix=prefix, page=page)
    return [*sockets, *http_routes(service, guard, identifying, asked, prefix=prefix)]


def operations(service: NodeService, *, prefix: str, page: bool) -> list[Operation]:
    """Everything that is offered over HTTP; the routes of files only with a file store."""
    files = service.files
    streams = [wire for wire in WIRES if isinstance(wire, StreamWire)]
    asks = [wire for wire in WIRES if isinstance(wire, AskWire)]
    return [
        *ServerRoutes(service).operations(),
        *SessionRoutes(service).operations(),
        *StateRoutes(service).operations(),
        *PresenceRoutes(service).operations(),
        *ExportRoutes(service).operations(),
        *EventRoutes(service, streams).operations(),
        *TopicRoutes(service).operations(),
        *AskRoutes(service, asks).operations(),
        *(() if files is None else FileRoutes(service, files).operations()),
        *(PageRoutes(prefix).operations() if page else ()),
        *(
            Operation(
                "GET", path, _no_upgrade, "anyone", "Opens a WebSocket; 400 without an upgrade"
            )
            for path in _by_path(WIRES)
        ),
    ]


_OPENS: Final = "Opens a WebSocket; 400 without the headers of an upgrade"


async def _no_upgrade(call: Call) -> ASGIApp:
    """Answers a handshake that has lost its headers on the way, which servers take for a GET."""
    raise BadRequest(
        "This request does not open a WebSocket.",
        expected="Connection: Upgrade and Upgrade: websocket, which every proxy has to pass on",
    )


def _by_path(wires: Sequence[Wire]) -> dict[str, list[SocketWire]]:
    found: dict[str, list[SocketWire]] = {}
    for wire in wires:
        if isinstance(wire, SocketWire):
            found.setdefault(wire.path, []).append(wire)
    return found

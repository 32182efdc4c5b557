"""The ASGI scope of a WebSocket connection."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from .handshake import UpgradeRequest
from .shared import ServerShared


def websocket_scope(
    request: UpgradeRequest, shared: ServerShared, transport: asyncio.Transport
) -> dict[str, Any]:
    """The ASGI scope, as uvicorn's own classes build it."""
    root_path = shared.config.root_path
    raw_path, _, query = request.target.partition(b"?")
    return {
        "type": "websocket",
        "asgi": shared.asgi,
        "http_version": "1.1",
        "scheme": "wss" if is_ssl(transport) else "ws",
        "server": shared.local_address(get_local_addr(transport)),
        "client": get_remote_addr(transport),
        "root_path": root_path,
        "path": root_path + unquote(raw_path.decode("latin-1")),
        "raw_path": root_path.encode("ascii") + raw_path,
        "query_string": query,
        "headers": request.headers,
        "subprotocols": request.subprotocols,
        "state": shared.app_state.copy(),
        "extensions": {"websocket.http.response": {}},
    }

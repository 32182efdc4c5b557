"""The server preset: uvicorn with a small WebSocket protocol class and a graceful shutdown.

    from agentws.server import serve
    serve(app, host="127.0.0.1", port=8000)

`Server(server_config(app))` is the same server, for hosts that run it themselves. Imports uvicorn
(and httptools or h11) and nothing else of agentws: it serves any ASGI application.
"""

from __future__ import annotations

from .draining import Server
from .framing import frame_text
from .limits import ServerLimits
from .preset import serve, server_config
from .websocket import AgentwsWebSocketProtocol

__all__ = [
    "AgentwsWebSocketProtocol",
    "Server",
    "ServerLimits",
    "frame_text",
    "serve",
    "server_config",
]

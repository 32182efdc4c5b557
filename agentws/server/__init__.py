"""The server preset: uvicorn with a small WebSocket protocol class and a graceful shutdown.

    from agentws.server import serve
    serve(app, host="127.0.0.1", port=8000)

`Server(server_config(app))` is the same server, for hosts that run it themselves. Imports uvicorn
(and httptools if it is installed) and nothing else of agentws: it serves any ASGI application.
"""

from __future__ import annotations

from .draining import Server
from .framing import frame_text
from .preset import serve, server_config
from .websocket import AgentwsWebSocketProtocol

__all__ = ["AgentwsWebSocketProtocol", "Server", "frame_text", "serve", "server_config"]

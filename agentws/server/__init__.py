"""The server under the gateway: a uvicorn preset with a lean WebSocket protocol class.

    from agentws.server import serve
    serve(app, host="127.0.0.1", port=8000)

`Server(server_config(app))` is the same server, for hosts that run it themselves.
"""

from __future__ import annotations

from .framing import frame_text
from .preset import serve, server_config
from .stopping import Server
from .websocket import AgentwsWebSocketProtocol

__all__ = ["AgentwsWebSocketProtocol", "Server", "frame_text", "serve", "server_config"]

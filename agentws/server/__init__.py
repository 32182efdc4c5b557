"""The server under the gateway: a uvicorn preset with a lean WebSocket protocol class.

    from agentws.server import serve
    serve(app, host="127.0.0.1", port=8000)

`server_config` gives the same as a `uvicorn.Config`, for hosts that run the server themselves.
"""

from __future__ import annotations

from .framing import frame_text
from .preset import serve, server_config
from .websocket import AgentwsWebSocketProtocol

__all__ = ["AgentwsWebSocketProtocol", "frame_text", "serve", "server_config"]

"""The uvicorn preset: the settings of `agentws run`, for hosts that start their own server too."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from .draining import Server
from .streaming import PresetH11Protocol
from .websocket import AgentwsWebSocketProtocol

# Larger than any message of a chat; more would let one connection hold more memory.
MAX_MESSAGE_SIZE = 256 * 1024
SHUTDOWN_SECONDS = 15
# Python's default is 700 objects for the first: those of two connections.
COLLECTOR_THRESHOLDS = (10_000, 20, 10)


def server_config(
    app: Callable[..., Any] | str, host: str = "127.0.0.1", port: int = 8000, **options: Any
) -> uvicorn.Config:
    """A `uvicorn.Config` for a gateway; `options` are uvicorn's own and win over the preset.

    WebSockets are served by `AgentwsWebSocketProtocol`: no permessage-deflate, messages of at most
    256 KiB, half-open connections are dropped (keepalive). There is no access log, since it would
    hold the ids of anonymous sessions. On a shutdown responses in progress have 15 seconds.

    With `agentws.server.Server(config)` clients are told to reconnect before their connections are
    closed; uvicorn's own server closes them first.
    """
    settings: dict[str, Any] = {
        "ws": AgentwsWebSocketProtocol,
        "ws_max_size": MAX_MESSAGE_SIZE,
        "ws_per_message_deflate": False,
        "timeout_graceful_shutdown": SHUTDOWN_SECONDS,
        "http": http_protocol(),
        # Paths and query strings hold session ids, and whoever knows an anonymous one owns it.
        "access_log": False,
    }
    return uvicorn.Config(app, host=host, port=port, **(settings | options))


def serve(
    app: Callable[..., Any] | str,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    sockets: list[socket.socket] | None = None,
    **options: Any,
) -> bool:
    """Serve until a signal ends it; arguments as for `server_config`. `False`: it did not start.

    `sockets` are listening sockets to use instead of `host` and `port`. The process should run
    nothing else: its garbage collector is tuned for the server.
    """
    config = server_config(app, host, port, **options)
    config.load()
    collect_less_often()
    server = Server(config)
    server.run(sockets=sockets)
    return server.started


def collect_less_often() -> None:
    """Tune the garbage collector for a server: fewer collections. `serve` calls it.

    Connections and logs are many and live long, and most of a collection traverses them: a quarter
    of the cost of a reconnect storm.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def http_protocol() -> type[asyncio.Protocol]:
    """The protocol class for HTTP: with httptools if it is installed, else with h11."""
    try:
        from .upgrading import PresetHttpToolsProtocol
    except ImportError:
        return PresetH11Protocol
    return PresetHttpToolsProtocol

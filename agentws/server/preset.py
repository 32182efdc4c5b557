"""The uvicorn preset: what `agentws run` serves with, public for hosts that start their own."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from .endless import EndingHttpProtocol
from .stopping import Server
from .websocket import AgentwsWebSocketProtocol

# A message larger than this is a file, and files have a route of their own.
MAX_MESSAGE_SIZE = 256 * 1024
SHUTDOWN_SECONDS = 15
# Python's own first is 700 objects: two connections' worth.
COLLECTOR_THRESHOLDS = (10_000, 20, 10)


def server_config(
    app: Callable[..., Any] | str, host: str = "127.0.0.1", port: int = 8000, **options: Any
) -> uvicorn.Config:
    """A `uvicorn.Config` for a gateway; `options` are uvicorn's own and win over the preset.

    WebSockets are served by `AgentwsWebSocketProtocol`: no permessage-deflate, messages of at most
    256 KiB, peers that stop answering pings are dropped. There is no access log: it would hold the
    ids of anonymous sessions. On a shutdown responses under way have 15 seconds to end.

    Run by `agentws.server.Server(config)`, clients are told to come back elsewhere before their
    connections are closed; uvicorn's own server closes them first.
    """
    settings: dict[str, Any] = {
        "ws": AgentwsWebSocketProtocol,
        "ws_max_size": MAX_MESSAGE_SIZE,
        "ws_per_message_deflate": False,
        "timeout_graceful_shutdown": SHUTDOWN_SECONDS,
        "http": http_protocol(),
        # Paths and queries hold session ids, and who knows an anonymous one owns it.
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

    `sockets` are listening sockets to serve instead of `host` and `port`. The process is taken to
    be the server's own: its garbage collector is tuned for it.
    """
    config = server_config(app, host, port, **options)
    config.load()
    collect_less_often()
    server = Server(config)
    server.run(sockets=sockets)
    return server.started


def collect_less_often() -> None:
    """Have the garbage collector look seldom at what a server holds; `serve` calls it.

    Connections and logs are many and live long, and looking at them is most of a collection: a
    quarter of what a storm of reconnects costs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def http_protocol() -> type[asyncio.Protocol]:
    """httptools' protocol, freed once a connection is upgraded; h11's without it."""
    try:
        from .upgrading import UpgradingHttpProtocol
    except ImportError:
        return EndingHttpProtocol
    return UpgradingHttpProtocol

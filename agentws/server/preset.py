"""The uvicorn preset: the settings of `agentws run`, for hosts that start their own server too."""

from __future__ import annotations

import gc
import importlib.util
import inspect
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn

from ..settings import Port, check_setting
from .config import PresetConfig
from .contract import H11, HTTPTOOLS, SERVER, WEBSOCKET, gaps
from .draining import Server
from .limits import ServerLimits
from .websocket import AgentwsWebSocketProtocol

logger = logging.getLogger("uvicorn.error")

# Larger than any message of a chat; more would let one connection hold more memory.
MAX_MESSAGE_SIZE = 256 * 1024
SHUTDOWN_SECONDS = 15
# Python's default is 700 objects for the first: those of two connections.
COLLECTOR_THRESHOLDS = (10_000, 20, 10)


def server_config(
    app: Callable[..., Any] | str,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    server_limits: ServerLimits | None = None,
    **options: Any,
) -> uvicorn.Config:
    """A `uvicorn.Config` for a gateway; `options` are uvicorn's own and win over the preset.

    WebSockets are served by `AgentwsWebSocketProtocol`: no permessage-deflate, messages of at most
    256 KiB, half-open connections are dropped (keepalive). What one peer may cost is bounded by
    `server_limits`. There is no access log, since it would hold the ids of anonymous sessions. On a
    shutdown responses in progress have 15 seconds.

    With `agentws.server.Server(config)` clients are told to reconnect before their connections are
    closed; uvicorn's own server closes them first. Raises ValueError for a port or a host that is
    none, TypeError for another type. On a uvicorn whose insides are not as the preset
    expects, what can't be protected is served by uvicorn's own classes: a warning is logged, and
    the gateway's `/readyz` says `"hardening": "partial"`.
    """
    limits = ServerLimits() if server_limits is None else server_limits
    _check_options(app, host, port, limits)
    chosen, missing = choose()
    settings: dict[str, Any] = {
        "ws_max_size": MAX_MESSAGE_SIZE,
        "ws_per_message_deflate": False,
        "h11_max_incomplete_event_size": limits.max_request_line + limits.max_head_size,
        "timeout_graceful_shutdown": SHUTDOWN_SECONDS,
        # Paths and query strings hold session ids, and whoever knows an anonymous one owns it.
        "access_log": False,
    }
    known = inspect.signature(uvicorn.Config).parameters
    missing += [f"uvicorn.Config has no option {one}" for one in settings if one not in known]
    settings = {one: value for one, value in settings.items() if one in known} | chosen
    config = PresetConfig(
        app,
        host=host,
        port=port,
        server_limits=limits,
        hardening="partial" if missing or options.keys() & chosen.keys() else "preset",
        **(settings | options),
    )
    if missing:
        logger.warning(
            "The preset does not know this uvicorn (%s), and protects only in part: %s",
            uvicorn.__version__,
            "; ".join(missing),
        )
    return config


def _check_options(app: object, host: object, port: object, limits: object) -> None:
    """Raises TypeError and ValueError for what uvicorn would take, and serve something else with:
    uvloop listens on port 4464 for 70000, and on every address for a host that is empty or None.
    """
    if not (callable(app) or isinstance(app, str)):
        raise TypeError(f"app is {app!r:.100}; expected an ASGI app, or 'module:app'")
    if not isinstance(host, str):
        raise TypeError(f"host is {host!r:.100}; expected an address or a name")
    if not host.strip():
        raise ValueError(f"host is {host!r}; expected an address, as 0.0.0.0 for all of IPv4")
    check_setting("port", port, Port)
    if not isinstance(limits, ServerLimits):
        raise TypeError(f"server_limits is {limits!r:.100}; expected a ServerLimits")


def serve(
    app: Callable[..., Any] | str,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    sockets: list[socket.socket] | None = None,
    server_limits: ServerLimits | None = None,
    **options: Any,
) -> bool:
    """Serve until a signal ends it; arguments as for `server_config`. `False`: it did not start.

    `sockets` are listening sockets to use instead of `host` and `port`. The process should run
    nothing else: its garbage collector is tuned for the server.
    """
    config = server_config(app, host, port, server_limits=server_limits, **options)
    config.load()
    collect_less_often()
    server = Server(config)
    try:
        # As uvicorn.run() does it: Ctrl-C is raised again once the server has stopped.
        with suppress(KeyboardInterrupt):
            server.run(sockets=sockets)
    finally:
        if config.uds:
            Path(config.uds).unlink(missing_ok=True)
    return server.started


def collect_less_often() -> None:
    """Tune the garbage collector for a server: fewer collections. `serve` calls it.

    Connections and logs are many and live long, and most of a collection traverses them: a quarter
    of the cost of a reconnect storm.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def choose() -> tuple[dict[str, Any], list[str]]:
    """The protocol classes for `uvicorn.Config`, and what this uvicorn lacks for others."""
    missing = gaps(WEBSOCKET)
    chosen: dict[str, Any] = {} if missing else {"ws": AgentwsWebSocketProtocol}
    missing += gaps(SERVER)
    if importlib.util.find_spec("httptools") is not None:
        lacking = gaps(HTTPTOOLS)
        if not lacking:
            from .upgrading import PresetHttpToolsProtocol

            return chosen | {"http": PresetHttpToolsProtocol}, missing
        missing += lacking
    lacking = gaps(H11)
    if not lacking:
        from .strict_h11 import PresetH11Protocol

        chosen["http"] = PresetH11Protocol
    return chosen, missing + lacking

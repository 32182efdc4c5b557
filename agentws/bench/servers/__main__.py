"""Serves one of the applications until it is terminated.

    python -m agentws.bench.servers gateway preset '{"limits": {...}, "store": "sqlite"}' DIRECTORY

binds a free port of 127.0.0.1, and prints it on standard output. DIRECTORY is only needed for a
store that has files; the caller removes it.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
import sys
from typing import Any

import msgspec
import uvicorn

from ..resources import allow_open_files
from .apps import gateway_app, raw_app

SETTINGS: dict[str, Any] = {"log_level": "warning", "access_log": False, "backlog": 4096}
UNBOUNDED_READS = {"read_rate": 1 << 40, "read_burst": 1 << 40}
"""The preset reads about a thousand frames a second of one connection; a measurement sends more."""


def run(app: Any, server: str, listener: socket.socket) -> None:
    """Serve with the same settings, except those that the preset sets."""
    if server == "preset":
        from ...server import ServerLimits, serve

        serve(app, sockets=[listener], server_limits=ServerLimits(**UNBOUNDED_READS), **SETTINGS)
        return
    stock: dict[str, Any] = {"ws": "websockets-sansio", "ws_per_message_deflate": False}
    uvicorn.Server(uvicorn.Config(app, **stock, **SETTINGS)).run(sockets=[listener])


def run_workers(options: dict[str, Any], listener: socket.socket) -> None:
    """Serve with several processes, as `agentws run --workers N` does."""
    from ...server import ServerLimits
    from ...server.preset import server_config
    from ...server.workers import Workers

    # A name and not a lambda, since each process makes its own app.
    app = functools.partial(gateway_app, options)
    limits = ServerLimits(**UNBOUNDED_READS)
    config = server_config(app, factory=True, server_limits=limits, **SETTINGS)
    Workers(config, [listener], options["workers"]).run()


def main(arguments: list[str]) -> None:
    kind, server, encoded, *directory = arguments
    allow_open_files(1 << 20)
    # Of runs whose node was killed, each logs a warning.
    logging.getLogger("agentws").setLevel(logging.ERROR)
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    # As if the server had made the socket: the preset sets this, the stock server does not.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    options = msgspec.json.decode(encoded, type=dict[str, Any])
    if "workers" in options:
        announce(listener)
        run_workers(options, listener)
        return
    app = raw_app() if kind == "raw" else gateway_app(options, *directory)
    announce(listener)
    run(app, server, listener)


def announce(listener: socket.socket) -> None:
    print(listener.getsockname()[1], flush=True)
    # Processes that this one starts would keep the pipe open.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    main(sys.argv[1:])

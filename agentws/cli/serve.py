"""``run`` and ``demo``: serves an app in this process, or in several worker processes."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

import msgspec
import uvicorn

from ..server.draining import Server
from ..server.preset import collect_less_often, server_config
from ..server.workers import Workers, worker_log_config
from ..transports.names import is_loopback
from .app import Served, Settings, check_files, make
from .listening import described, listen
from .options import CHILD_SETTINGS
from .problem import NOT_STARTED, USAGE, Problem
from .stores import check_store


def serve(settings: Settings, environment: Mapping[str, str], *, reload: bool = False) -> int:
    """Serves until a signal ends it. Raises Problem when it can't start."""
    if reload and settings.workers > 1:
        raise Problem(
            f"--reload serves with one process; expected no --workers {settings.workers}",
            status=USAGE,
        )
    if settings.node_name is not None and settings.workers > 1:
        raise Problem(
            f"--node names one process; expected no --workers {settings.workers}", status=USAGE
        )
    served = make(settings, environment)
    check_store(settings.store)
    check_files(settings.files, settings.store)
    with ExitStack() as opened:
        listeners = [opened.enter_context(one) for one in listen(settings.host, settings.port)]
        print_start_message(settings, served, listeners)
        if reload:
            return _serve_reloading(settings, listeners)
        if settings.workers > 1:
            return _serve_with_workers(settings, listeners)
        return _serve_here(served.app, settings, listeners)


def _serve_here(app: Any, settings: Settings, listeners: list[socket.socket]) -> int:
    server = Server(_config(app, settings))
    collect_less_often()
    with suppress(KeyboardInterrupt):
        # Ctrl-C is the way to stop a server: uvicorn raises it again once it has stopped.
        server.run(sockets=listeners)
    return 0 if server.started else NOT_STARTED


def _serve_reloading(settings: Settings, listeners: list[socket.socket]) -> int:
    """Serves in a child process that is replaced whenever a file changes."""
    from uvicorn.supervisors import ChangeReload

    config = _child_config(settings, reload=True)
    ChangeReload(config, target=Server(config).run, sockets=listeners).run()
    return 0


def _serve_with_workers(settings: Settings, listeners: list[socket.socket]) -> int:
    """Serves in several child processes on one port, each a node on the same store."""
    config = _child_config(settings, workers=settings.workers, log_config=worker_log_config())
    started = True
    with suppress(KeyboardInterrupt):
        started = Workers(config, listeners, settings.workers).run()
    return 0 if started else NOT_STARTED


def _child_config(settings: Settings, **options: Any) -> uvicorn.Config:
    """The configuration of child processes, which make the app themselves; see `create`."""
    os.environ[CHILD_SETTINGS] = msgspec.json.encode(settings).decode()
    return _config("agentws.cli.serve:create", settings, factory=True, **options)


def create() -> Any:
    """The app, in a child process."""
    settings = msgspec.json.decode(os.environ[CHILD_SETTINGS], type=Settings)
    try:
        return make(settings, os.environ).app
    except Problem as problem:
        print(f"agentws: {problem}", file=sys.stderr)
        # Without a traceback; a reloading supervisor waits for the next change.
        raise SystemExit(problem.status) from None


def _config(app: Any, settings: Settings, **options: Any) -> uvicorn.Config:
    # No access log: paths and query strings hold session ids, and whoever knows an anonymous one
    # owns it.
    return server_config(
        app, settings.host, settings.port, access_log=False, log_level="warning", **options
    )


# The start-up message


def print_start_message(settings: Settings, served: Served, listeners: list[socket.socket]) -> None:
    """Prints what is served, and where, to standard error: standard output is for data."""
    addresses = [str(listener.getsockname()[0]) for listener in listeners]
    is_reachable = not all(map(is_loopback, addresses))
    host = settings.host.strip("[]")
    if not is_reachable and not is_loopback(host):
        # On a loopback address only loopback names are served, whatever else resolves to it.
        host = addresses[0]
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    shown = f"[{host}]" if ":" in host else host
    port = listeners[0].getsockname()[1]
    url = f"http://{shown}:{port}{settings.prefix}/"
    where = described(listeners)
    routes = [f"  page       {url}", f"  websocket  ws{url.removeprefix('http')}ws/chat"]
    lines = [
        f"agentws serves {settings.target or 'the demo agent'}",
        *(routes if served.is_ours else [f"  running on {url}"]),
        *([f"  listens on {', '.join(where)}"] if where != [f"{shown}:{port}"] else []),
        *([f"  workers    {settings.workers} processes"] if settings.workers > 1 else []),
        "  stop       Ctrl-C",
        *served.notes,
    ]
    if served.is_ours and is_reachable and not settings.api_key:
        lines.append(
            f"WARNING: {settings.host} is reachable from other machines, and anyone there can use "
            "this agent. --api-key KEY=IDENTITY requires a key."
        )
    print("\n".join(lines), file=sys.stderr, flush=True)

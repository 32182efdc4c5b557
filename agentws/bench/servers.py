"""The measured servers, each in its own process: the gateway, and bare Starlette.

    python -m agentws.bench.servers gateway preset '{"limits": {...}, "store": "sqlite"}' DIRECTORY

binds a free port, prints it on standard output, and serves until it is terminated. DIRECTORY is
only needed for a store that has files; the caller removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import gc
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..store import Store
from .counting import Calls
from .measure import allow_open_files
from .places import Place
from .variants import DELTA, PACE, RAW_EVENT

# One load generator acts as many clients: the default limits would refuse it.
GENEROUS = {
    "message_rate": 1e9,
    "message_burst": 1_000_000_000,
    "byte_rate": 1e12,
    "max_connections_per_identity": 100_000,
    "max_connections_per_address": 100_000,
    "max_runs": 100_000,
    "max_runs_per_identity": 100_000,
}
SETTINGS: dict[str, Any] = {"log_level": "warning", "access_log": False, "backlog": 4096}


def raw_app() -> Any:
    """A WebSocket endpoint without log, session or replay: every ratio is relative to it."""
    followers: set[WebSocket] = set()

    async def deltas(websocket: WebSocket, count: int, pause: float | None) -> None:
        for _ in range(count):
            await websocket.send_json(RAW_EVENT)
            if pause is not None:
                await asyncio.sleep(pause)

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        followers.add(websocket)
        try:
            await deltas(websocket, int(websocket.query_params.get("owed", 0)), None)
            while True:
                work, _, count = (await websocket.receive_text()).partition(":")
                await deltas(websocket, int(count or 1), PACE if work == "paced" else None)
        except WebSocketDisconnect:
            followers.discard(websocket)

    async def broadcast(request: Request) -> Response:
        for websocket in tuple(followers):
            await websocket.send_json(RAW_EVENT)
        return PlainTextResponse("")

    return Starlette(
        routes=[
            WebSocketRoute("/ws", endpoint),
            Route("/to-everybody", broadcast, methods=["POST"]),
            Route("/settle", settle, methods=["POST"]),
            Route("/health", lambda request: PlainTextResponse("")),
        ]
    )


def gateway_app(options: dict[str, Any], directory: str = "") -> Any:
    """The gateway, with an agent whose answer is what its message asks for."""
    from agentws import Agent, Limits, RunContext, mount_agent_gateway, tool

    @tool
    async def look(text: str) -> str:
        return text

    class Worker(Agent):
        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            work, _, count = ctx.text.partition(":")
            if work == "tool":
                await ctx.call(look, text=DELTA)
            for _ in range(int(count or 1)):
                yield DELTA
                if work == "paced":
                    await asyncio.sleep(PACE)
                elif work == "apart":
                    await asyncio.sleep(0)

    async def broadcast(request: Request) -> Response:
        await gateway.broadcast(DELTA)
        return PlainTextResponse("")

    async def counted(request: Request) -> Response:
        return JSONResponse(calls.take())

    # The same route on both servers, so that only its work is compared.
    routes = [
        Route("/to-everybody", broadcast, methods=["POST"]),
        Route("/settle", settle, methods=["POST"]),
        Route("/calls", counted, methods=["POST"]),
    ]
    app = Starlette(routes=routes)
    store = _store(options, directory)
    calls = Calls()
    if options.get("count_calls"):
        calls.count(store)
    gateway = mount_agent_gateway(
        app,
        Worker,
        limits=msgspec.convert(GENEROUS | options.get("limits", {}), Limits),
        store=store,
    )
    return app


async def settle(request: Request) -> Response:
    """Returns freed memory to the system, so that only memory in use is measured."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return PlainTextResponse("")


def _store(options: dict[str, Any], directory: str) -> Store:
    if "place" in options:
        return msgspec.convert(options["place"], Place).store()
    return Place(kind=options.get("store", "memory"), folder=directory).store()


def run(app: Any, server: str, listener: socket.socket) -> None:
    """Serve with the same settings, except those that the preset sets."""
    if server == "preset":
        from agentws.server import serve

        serve(app, sockets=[listener], **SETTINGS)
        return
    stock: dict[str, Any] = {"ws": "websockets-sansio", "ws_per_message_deflate": False}
    uvicorn.Server(uvicorn.Config(app, **stock, **SETTINGS)).run(sockets=[listener])


def run_workers(options: dict[str, Any], listener: socket.socket) -> None:
    """Serve with several processes, as `agentws run --workers N` does."""
    from agentws.server.preset import server_config
    from agentws.server.workers import Workers

    # A name and not a lambda, since each process makes its own app.
    app = functools.partial(gateway_app, options)
    config = server_config(app, factory=True, **SETTINGS)
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

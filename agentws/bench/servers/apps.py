"""The measured applications: the gateway, and bare Starlette. Both make the same answers."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ...store import Store
from .store_address import StoreAddress
from .store_calls import StoreCalls
from .variants import DELTA, PACE, RAW_EVENT, SUBPROTOCOL

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


def raw_app() -> Any:
    """A WebSocket endpoint without log, session or replay: every ratio is relative to it."""
    followers: set[WebSocket] = set()

    async def deltas(websocket: WebSocket, count: int, pause: float | None) -> None:
        for _ in range(count):
            await websocket.send_json(RAW_EVENT)
            if pause is not None:
                await asyncio.sleep(pause)

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept(SUBPROTOCOL)
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
    calls = StoreCalls()
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
    if "store_address" in options:
        return msgspec.convert(options["store_address"], StoreAddress).store()
    return StoreAddress(kind=options.get("store", "memory"), folder=directory).store()

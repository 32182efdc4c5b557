"""A server to be attacked: `python -m agentws.bench.attacks.server stock|preset PORT`.

A gateway whose agent answers more than a peer can buffer, a WebSocket that is never accepted, and
an HTTP response without an end.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

TEXT = "0123456789" * 100
DELTAS = 4000


def application() -> Any:
    from agentws import Agent, RunContext, mount_agent_gateway

    class Speaker(Agent):
        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            for _ in range(DELTAS):
                yield TEXT
                await asyncio.sleep(0)

    async def never(websocket: WebSocket) -> None:
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass

    async def stream(request: Request) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            while True:
                yield TEXT.encode()
                await asyncio.sleep(0)

        return StreamingResponse(pieces())

    app = Starlette(routes=[WebSocketRoute("/never", never), Route("/stream", stream)])
    mount_agent_gateway(app, Speaker)
    return app


def main(arguments: list[str]) -> None:
    kind, port = arguments
    settings: dict[str, Any] = {"log_level": "critical", "access_log": False}
    if kind == "preset":
        from agentws.server import serve

        serve(application(), port=int(port), **settings)
        return
    config = uvicorn.Config(application(), port=int(port), ws="websockets-sansio", **settings)
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main(sys.argv[1:])

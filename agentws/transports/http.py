"""The HTTP routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from .guard import Guard

if TYPE_CHECKING:
    from ..gateway import AgentGateway


def http_routes(gateway: AgentGateway, guard: Guard, *, prefix: str, page: bool) -> list[BaseRoute]:
    async def stats(request: Request) -> Response:
        return JSONResponse(gateway.stats())

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return [Route(f"{prefix}/stats", stats), Route(f"{prefix}/health", health)]

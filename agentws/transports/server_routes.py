"""The HTTP routes of the node itself: health, readiness, counts, broadcast and push."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Literal

from starlette.types import ASGIApp

from ..errors import AgentwsError, NotSupported, WrongLoop
from ..protocol import bodies as b
from ..runs.inbox import check_content
from ..sessions.registry import check_session_id
from .http import SERVER, Call, Operation, json_response
from .service import NodeService

logger: Final = logging.getLogger("agentws")

PING_TIMEOUT: Final = 2.0
"""Seconds after which a store that does not answer a ping counts as unreachable."""


class ServerRoutes:
    """Handles the requests about the node."""

    def __init__(self, service: NodeService) -> None:
        self._service = service

    def operations(self) -> list[Operation]:
        return [
            Operation(
                "GET", "/health", self.alive, "anyone", "The process is alive", answer=b.Health
            ),
            Operation(
                "GET", "/livez", self.alive, "anyone", "The process is alive", answer=b.Health
            ),
            Operation(
                "GET",
                "/readyz",
                self.ready,
                "anyone",
                "Whether to send work here: 503 while the store is unreachable or the node drains",
                answer=b.Readiness,
            ),
            Operation("GET", "/stats", self.stats, "caller or admin", "Counts", answer=b.Stats),
            Operation(
                "POST",
                "/broadcast",
                self.broadcast,
                "admin",
                "Shows a notice to every connected client",
                body=b.Broadcast,
                answer=b.Reached,
            ),
            Operation(
                "POST",
                "/sessions/{id}/push",
                self.push,
                "admin",
                "Posts a durable notice to a session",
                body=b.Push,
                answer=b.Pushed,
            ),
        ]

    async def alive(self, call: Call) -> ASGIApp:
        """Liveness. Does not ask the store: a restart would not repair it."""
        return json_response(b.Health())

    async def ready(self, call: Call) -> ASGIApp:
        service = self._service
        reachable = await self._reaches_store()
        status = b.Readiness(
            status="draining" if service.draining else "ready" if reachable else "unavailable",
            store="ok" if reachable else "unreachable",
            durability=service.store.durability,
            draining=service.draining,
            hardening=hardening_of(call),
        )
        return json_response(status, status=200 if status.status == "ready" else 503)

    async def _reaches_store(self) -> bool:
        service = self._service
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                await service.start()
                await service.store.ping()
        except WrongLoop:
            # A mistake in the host's code, not an outage of the store.
            raise
        except (AgentwsError, TimeoutError):
            return False
        except Exception:
            logger.exception("the store's ping failed")
            return False
        return True

    async def stats(self, call: Call) -> ASGIApp:
        return json_response(self._service.stats())

    async def broadcast(self, call: Call) -> ASGIApp:
        body: b.Broadcast = call.body
        check_content(body.content)
        if body.topic is not None or body.durable:
            raise NotSupported("Topics are not offered.", expected="no topic, and not durable")
        reached = await self._service.broadcast(
            body.content, level=body.level, metadata=body.metadata
        )
        return json_response(b.Reached(reached=reached))

    async def push(self, call: Call) -> ASGIApp:
        body: b.Push = call.body
        check_content(body.content)
        id = call.request.path_params["id"]
        check_session_id(id)
        position = await self._service.session(id).push(
            body.content, level=body.level, metadata=body.metadata
        )
        return json_response(b.Pushed(position=position))


def hardening_of(call: Call) -> Literal["partial", "preset"]:
    """Whether the server is the preset, complete: it has timeouts and limits that an app can't."""
    offered = (call.request.scope.get("extensions") or {}).get(SERVER) or {}
    return "preset" if offered.get("hardening") == "preset" else "partial"

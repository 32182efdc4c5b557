"""The HTTP routes of the node itself: health, readiness, counts, broadcast and push."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.types import ASGIApp

from ..errors import AgentwsError, BadRequest, WrongLoop
from ..protocol import bodies as b
from ..runs.attaching import check_text
from ..sessions.registry import check_session_id
from .http import SERVER, Call, Operation, json_response
from .outlet import EXTENSION
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
                "Shows a notice to every connected client, or posts it to a topic",
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
            hardening="preset" if is_preset(call) else "partial",
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
        check_text(body.content)
        key = call.request.headers.get("idempotency-key")
        if body.durable:
            return await self._post(body, key)
        if key is not None:
            expected = "durable: true, or no Idempotency-Key"
            raise BadRequest("What is not kept can't be sent just once.", expected=expected)
        to = self._service if body.topic is None else self._service.topic(body.topic)
        reach = await to.announce(body.content, level=body.level, metadata=body.metadata)
        return json_response(b.Reached(**reach._asdict()))

    async def _post(self, body: b.Broadcast, key: str | None) -> ASGIApp:
        if body.topic is None:
            expected = "a topic, or durable: false"
            raise BadRequest("A durable broadcast is posted to a topic.", expected=expected)
        done = await self._service.topic(body.topic).append(
            body.content, level=body.level, metadata=body.metadata, key=key
        )
        return json_response(b.Posted(position=str(done.position), duplicate=done.duplicate))

    async def push(self, call: Call) -> ASGIApp:
        body: b.Push = call.body
        check_text(body.content)
        id = call.request.path_params["id"]
        check_session_id(id)
        position = await self._service.session(id).push(
            body.content, level=body.level, metadata=body.metadata
        )
        return json_response(b.Pushed(position=position))


def is_preset(call: Call) -> bool:
    """Whether the server is the preset, which has timeouts and limits that an ASGI app can't."""
    extensions = call.request.scope.get("extensions") or {}
    return SERVER in extensions or EXTENSION in extensions

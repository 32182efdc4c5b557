"""The HTTP routes of the node itself: health, readiness, counts, broadcast and push."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Literal

import msgspec
from starlette.types import ASGIApp

from ..errors import AgentwsError, BadRequest, WrongLoop
from ..protocol import bodies as b
from ..protocol.frames import Durability
from ..runs.attaching import check_text
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
                "Shows a notice to every connected client, or posts it to a topic",
                body=b.Broadcast,
                answer=b.Reached,
            ),
            Operation(
                "POST",
                "/admin/drain",
                self.drain,
                "admin",
                "Drains this node; answers when it can be stopped",
                answer=b.Drained,
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
        durability = await self._durability()
        reachable = durability is not None
        status = b.Readiness(
            status="draining" if service.draining else "ready" if reachable else "unavailable",
            store="ok" if reachable else "unreachable",
            durability=msgspec.UNSET if durability is None else durability,
            draining=service.draining,
            hardening=hardening_of(call),
            loop_lag_ms=round(service.loop_lag * 1000, 1),
            zombie_tasks=service.runs.zombies,
        )
        return json_response(status, status=200 if status.status == "ready" else 503)

    async def _durability(self) -> Durability | None:
        """The durability that the store meets now; ``None`` when it does not answer."""
        service = self._service
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                await service.start()
                return await service.store.available_durability()
        except WrongLoop:
            # A mistake in the host's code, not an outage of the store.
            raise
        except (AgentwsError, TimeoutError):
            return None
        except Exception:
            logger.exception("the store's ping failed")
            return None

    async def stats(self, call: Call) -> ASGIApp:
        counts = self._service.stats()
        cluster = await self._service.cluster_stats()
        return json_response(counts if cluster is None else {**counts, "cluster": cluster})

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

    async def drain(self, call: Call) -> ASGIApp:
        """Answers when the drain has ended; it goes on if the caller does not wait for it."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await self._service.drain()
        return json_response(b.Drained(seconds=round(loop.time() - begun, 1)))

    async def push(self, call: Call) -> ASGIApp:
        body: b.Push = call.body
        check_text(body.content)
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

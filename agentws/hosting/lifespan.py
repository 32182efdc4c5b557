"""Starts and stops a gateway with a Starlette app's lifespan, and registers its drain there.

A server that can drain before it closes its connections puts a list into the lifespan's state. Each
gateway appends its ``drain`` to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from ..errors import Misconfigured
from ..gateway.gateway import AgentGateway

DRAINS: Final = "agentws.drain"
"""The key in the lifespan's state of the server's list of drains to await."""

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def join_lifespan(router: Router, gateway: AgentGateway) -> None:
    """Makes the gateway start and stop with the app of ``router``."""
    refusals: list[Misconfigured] = []
    router.lifespan_context = _nested(router.lifespan_context, gateway, refusals)
    _wrap_lifespan(router, gateway, refusals)


def _nested(host: Lifespan, gateway: AgentGateway, refusals: list[Misconfigured]) -> Lifespan:
    """The host's lifespan with the gateway's inside it; yields the host's state."""

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with host(app) as state:
            try:
                await gateway.start_with_host()
            except Misconfigured as error:
                refusals.append(error)
                raise
            try:
                yield state
            finally:
                await gateway.stop()

    return lifespan


def _wrap_lifespan(router: Router, gateway: AgentGateway, refusals: list[Misconfigured]) -> None:
    """Wraps ``router.lifespan``: the server's list is in its scope, which a lifespan context never
    sees; and Starlette answers a failed start with a traceback, where one line says it all."""
    host_lifespan = router.lifespan

    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_one_line(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed" and refusals:
                message = {**message, "message": refused(refusals.pop())}
            await send(message)

        register_drain(scope, gateway)
        await host_lifespan(scope, receive, send_in_one_line)

    router.lifespan = lifespan  # type: ignore[method-assign]


def refused(error: Misconfigured) -> str:
    """What the server shows when the gateway refuses to start."""
    return f"agentws can't start: {error}"


def register_drain(scope: Scope, gateway: AgentGateway) -> None:
    """Appends ``gateway.drain`` to the server's list, if the server has one."""
    drains = scope.get("state", {}).get(DRAINS)
    if drains is not None:
        drains.append(gateway.drain)

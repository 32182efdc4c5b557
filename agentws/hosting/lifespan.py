"""Starts and stops a gateway with a Starlette app's lifespan, and registers its drain there.

A server that can drain before it closes its connections puts a list into the lifespan's state. Each
gateway appends its ``drain`` to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from ..gateway.gateway import AgentGateway

DRAINS: Final = "agentws.drain"
"""The key in the lifespan's state of the server's list of drains to await."""

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def join_lifespan(router: Router, gateway: AgentGateway) -> None:
    """Makes the gateway start and stop with the app of ``router``."""
    router.lifespan_context = _nested(router.lifespan_context, gateway)
    _register_drain_on_startup(router, gateway)


def _nested(host: Lifespan, gateway: AgentGateway) -> Lifespan:
    """The host's lifespan with the gateway's inside it; yields the host's state."""

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with host(app) as state:
            await gateway.start(again=True)
            try:
                yield state
            finally:
                await gateway.stop()

    return lifespan


def _register_drain_on_startup(router: Router, gateway: AgentGateway) -> None:
    """Wraps ``router.lifespan``: the list is in its scope, which a lifespan context never sees."""
    host_lifespan = router.lifespan

    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        register_drain(scope, gateway)
        await host_lifespan(scope, receive, send)

    router.lifespan = lifespan  # type: ignore[method-assign]


def register_drain(scope: Scope, gateway: AgentGateway) -> None:
    """Appends ``gateway.drain`` to the server's list, if the server has one."""
    drains = scope.get("state", {}).get(DRAINS)
    if drains is not None:
        drains.append(gateway.drain)

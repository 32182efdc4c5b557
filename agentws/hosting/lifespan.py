"""A gateway within the lifespan of a Starlette app, and what a server can ask of it there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from ..gateway.gateway import AgentGateway

DRAINS: Final = "agentws.drain"
"""In the lifespan's state, where the server wants to know: what to await before it closes."""

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def within(router: Router, gateway: AgentGateway) -> None:
    """The gateway starts and stops with the app whose ``router`` it is."""
    router.lifespan_context = _composed(router.lifespan_context, gateway)
    _offer_drain(router, gateway)


def _composed(host: Lifespan, gateway: AgentGateway) -> Lifespan:
    """The host up, the gateway up, the gateway down, the host down; the host's state is kept."""

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with host(app) as state:
            await gateway.start(again=True)
            try:
                yield state
            finally:
                await gateway.stop()

    return lifespan


def _offer_drain(router: Router, gateway: AgentGateway) -> None:
    """Lets a server that asks for it drain the gateway before it closes its connections.

    The lifespan's context is not told of the scope, in which the server asks.
    """
    answer = router.lifespan

    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        answer_offer(scope, gateway)
        await answer(scope, receive, send)

    router.lifespan = lifespan  # type: ignore[method-assign]


def answer_offer(scope: Scope, gateway: AgentGateway) -> None:
    drains = scope.get("state", {}).get(DRAINS)
    if drains is not None:
        drains.append(gateway.drain)

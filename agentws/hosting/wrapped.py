"""A wrapper for hosts that are not Starlette apps: gateway routes first, lifespans nested."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from typing import Final

from starlette.routing import BaseRoute, Match, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import Misconfigured
from ..gateway.gateway import AgentGateway
from .lifespan import refused, register_drain

logger: Final = logging.getLogger("agentws")

STARTUP: Final = "lifespan.startup"
SHUTDOWN: Final = "lifespan.shutdown"
ANSWERS: Final = frozenset(
    f"{asked}.{ended}" for asked in (STARTUP, SHUTDOWN) for ended in ("complete", "failed")
)


def check_app(app: object) -> None:
    """Raises TypeError for what no server could call.

    A class is an ASGI app only if its instances can be awaited, as Starlette's endpoints can. Any
    other one was meant to be called first: ``Starlette`` for ``Starlette()``.
    """
    if not callable(app) or (isinstance(app, type) and not hasattr(app, "__await__")):
        raise TypeError(f"app is {app!r:.100}; expected an ASGI app, as Starlette()")


class WrappedHost:
    """An ASGI app that serves the gateway's routes and passes everything else to the host."""

    def __init__(self, host: ASGIApp, routes: Sequence[BaseRoute], gateway: AgentGateway) -> None:
        self._host = host
        self._routes = Router(routes)
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif any(route.matches(scope)[0] is not Match.NONE for route in self._routes.routes):
            await self._routes(scope, receive, send)
        else:
            await self._host(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        register_drain(scope, self._gateway)
        await _NestedLifespan(self._gateway, receive, send).run(self._host, scope)


class _NestedLifespan:
    """The gateway's lifespan inside a host's: the host starts before it and stops after it.

    By the ASGI specification a host that raises, or returns without an answer, has no lifespan.
    Then only the gateway starts and stops.
    """

    def __init__(self, gateway: AgentGateway, receive: Receive, send: Send) -> None:
        self._gateway = gateway
        self._receive = receive
        self._send = send
        self._received: set[str] = set()
        self._answered: set[str] = set()
        self._start_failed: str | None = None
        self._stop_failed: str | None = None

    async def run(self, host: ASGIApp, scope: Scope) -> None:
        try:
            await host(scope, self._to_host, self._from_host)
        except Exception as error:
            if f"{STARTUP}.failed" in self._answered or SHUTDOWN in self._received:
                raise
            if self._answered or self._start_failed is not None:
                logger.exception("the host's lifespan ended with an error")
            else:
                logger.info("the host has no lifespan: %r", error)
        await self._complete()

    async def _complete(self) -> None:
        """Sends the answers that the host has not sent, starting and stopping the gateway."""
        if not self._answered:
            if self._start_failed is None:
                await self._receive_until(STARTUP)
                await self._start()
            await self._answer(STARTUP, self._start_failed)
        if f"{STARTUP}.failed" in self._answered:
            return
        await self._receive_until(SHUTDOWN)
        if not self._answered & {f"{SHUTDOWN}.complete", f"{SHUTDOWN}.failed"}:
            await self._answer(SHUTDOWN, self._stop_failed)

    async def _to_host(self) -> Message:
        if self._start_failed is not None:
            # The host has started and the gateway has not: shut the host down again.
            return {"type": SHUTDOWN}
        return await self._next_message()

    async def _from_host(self, message: Message) -> None:
        if message["type"] not in ANSWERS:
            # A host may answer every scope as if it were HTTP. Servers raise here too; so it counts
            # as a host without a lifespan, and the startup goes on.
            raise RuntimeError(
                f"the host sent {message['type']!r} in its lifespan; expected one of "
                + ", ".join(sorted(ANSWERS))
            )
        if self._start_failed is not None:
            return
        if message["type"] == f"{STARTUP}.complete":
            await self._start()
            if self._start_failed is not None:
                return
        if message["type"] == f"{SHUTDOWN}.complete":
            await self._answer(SHUTDOWN, self._stop_failed)
        else:
            self._answered.add(message["type"])
            await self._send(message)

    async def _answer(self, to: str, failure: str | None) -> None:
        message = {"type": f"{to}.complete"}
        if failure is not None:
            message = {"type": f"{to}.failed", "message": failure}
        self._answered.add(message["type"])
        await self._send(message)

    async def _receive_until(self, wanted: str) -> None:
        while wanted not in self._received:
            await self._next_message()

    async def _next_message(self) -> Message:
        message = await self._receive()
        self._received.add(message["type"])
        if message["type"] == SHUTDOWN:
            try:
                await self._gateway.stop()
            except Exception:
                self._stop_failed = traceback.format_exc()
        return message

    async def _start(self) -> None:
        try:
            await self._gateway.start_with_host()
        except Misconfigured as error:
            self._start_failed = refused(error)
        except Exception:
            self._start_failed = traceback.format_exc()

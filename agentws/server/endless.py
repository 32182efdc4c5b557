"""HTTP responses that go on for as long as the peer stays, and a server that wants to stop.

uvicorn waits for every response under way. A stream of events has no end to wait for, so its
application marks it, and a shutdown closes it as if the peer had gone.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

EXTENSION: Final = "agentws.server"
"""In ``scope["extensions"]``: an application sets ``["endless"]`` of it to say so."""


def offer(scope: MutableMapping[str, Any]) -> None:
    """Lets the application of this request mark its response."""
    scope.setdefault("extensions", {}).setdefault(EXTENSION, {"endless": False})


def is_endless(cycle: Any) -> bool:
    """Whether the response of uvicorn's ``cycle`` is under way and marked."""
    if cycle is None or cycle.response_complete:
        return False
    return bool(cycle.scope.get("extensions", {}).get(EXTENSION, {}).get("endless"))


class EndingHttpProtocol(H11Protocol):
    """uvicorn's h11 protocol, for where httptools is not installed."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        application: Any = self.app

        async def offering(scope: Any, receive: Any, send: Any) -> None:
            # Here, since a scope is made and its task begun in one step: with an eager task factory
            # the application runs before the protocol could add anything.
            offer(scope)
            await application(scope, receive, send)

        self.app = offering

    def shutdown(self) -> None:
        super().shutdown()
        if is_endless(self.cycle):
            self.transport.close()

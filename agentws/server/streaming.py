"""Unbounded HTTP responses (event streams), and a graceful shutdown that does not wait for them.

uvicorn waits for every response in progress. A stream of events ends only when its peer
disconnects, so its application marks the response as unbounded, and a shutdown then closes the
connection as if the peer had disconnected.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

EXTENSION: Final = "agentws.server"
"""In ``scope["extensions"]``: an application sets its ``["unbounded"]`` to mark the response."""


def offer_mark(scope: MutableMapping[str, Any]) -> None:
    """Adds the extension, so that the application of this request can mark its response."""
    scope.setdefault("extensions", {}).setdefault(EXTENSION, {"unbounded": False})


def is_unbounded(cycle: Any) -> bool:
    """Whether the response of uvicorn's ``cycle`` is in progress and marked as unbounded."""
    if cycle is None or cycle.response_complete:
        return False
    return bool(cycle.scope.get("extensions", {}).get(EXTENSION, {}).get("unbounded"))


class PresetH11Protocol(H11Protocol):
    """uvicorn's h11 protocol with `offer_mark`; used if httptools is not installed."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        application: Any = self.app

        async def offering(scope: Any, receive: Any, send: Any) -> None:
            # Added here because uvicorn makes the scope and starts its task in one step: with an
            # eager task factory the application runs before the protocol could add anything.
            offer_mark(scope)
            await application(scope, receive, send)

        self.app = offering

    def shutdown(self) -> None:
        super().shutdown()
        if is_unbounded(self.cycle):
            self.transport.close()

"""Unbounded HTTP responses (event streams), and a graceful shutdown that does not wait for them.

uvicorn waits for every response in progress. A stream of events ends only when its peer
disconnects, so its application marks the response as unbounded, and a shutdown then closes the
connection as if the peer had disconnected.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

EXTENSION: Final = "agentws.server"
"""In ``scope["extensions"]``: an application sets its ``["unbounded"]`` to mark the response.

``["hardening"]`` tells it whether the preset is complete: `preset` or `partial`.
"""


def offer_mark(scope: MutableMapping[str, Any], hardening: str) -> None:
    """Adds the extension, so that the application of this request can mark its response."""
    offered = {"unbounded": False, "hardening": hardening}
    scope.setdefault("extensions", {}).setdefault(EXTENSION, offered)


def is_unbounded(cycle: Any) -> bool:
    """Whether the response of uvicorn's ``cycle`` is in progress and marked as unbounded."""
    if cycle is None or cycle.response_complete:
        return False
    return bool(cycle.scope.get("extensions", {}).get(EXTENSION, {}).get("unbounded"))

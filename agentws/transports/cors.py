"""CORS headers and preflights. Which origins are allowed is decided by the guard."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from .guard import Guard, Scope, header

Header = tuple[bytes, bytes]

EXPOSED: Final = b"Agentws-Session, ETag, Retry-After, WWW-Authenticate"
MAX_AGE: Final = "600"
"""Seconds for which a browser may cache a preflight; Chromium's maximum is two hours."""
_ASKED_HEADERS: Final = "access-control-request-headers"


def cors_headers(guard: Guard, scope: Scope) -> list[Header]:
    """The headers of a response to a request that passed the guard.

    Only a trusted origin may send credentials: with ``"*"`` or ``null``, any page could act with
    its visitor's credentials.
    """
    origin = header(scope, b"origin")
    if origin is None:
        return []
    exposed = (b"access-control-expose-headers", EXPOSED)
    if not guard.trusts(origin):
        allowed = guard.any_origin or guard.names(origin)
        return [(b"access-control-allow-origin", b"*"), exposed] if allowed else []
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-credentials", b"true"),
        exposed,
    ]


def preflight(request: Request, methods: str) -> Response:
    """The response to an OPTIONS request. Every header that the page names is allowed.

    Headers alone grant nothing, and only the host knows which ones its ``authenticate`` reads.
    """
    headers = {"allow": methods}
    if "access-control-request-method" in request.headers:
        headers["access-control-allow-methods"] = methods
        headers["access-control-max-age"] = MAX_AGE
        headers["vary"] = "Access-Control-Request-Headers"
        asked = request.headers.get(_ASKED_HEADERS)
        if asked:
            headers["access-control-allow-headers"] = asked
    return Response(status_code=204, headers=headers)

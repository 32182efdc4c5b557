"""Who may knock: Host and Origin, checked before anything else looks at a request.

CORS does not protect WebSockets, and a page of any site can open one to localhost. So a browser's
Origin must be the host's own or allowed by name; and a gateway that listens on the loopback only
serves loopback names, since a foreign name that resolves there is DNS rebinding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from ..errors import Forbidden, Misdirected

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}

Scope = Mapping[str, Any]


class Guard:
    """Checks Host and Origin of every request and handshake."""

    def __init__(
        self, *, allowed_origins: Sequence[str] | None, allowed_hosts: Sequence[str] | None
    ) -> None:
        self.origins: Final = frozenset(map(_origin, allowed_origins or ()))
        self.any_origin: Final = "*" in (allowed_origins or ())
        self._hosts = None if allowed_hosts is None else frozenset(map(str.lower, allowed_hosts))

    def check(self, scope: Scope) -> None:
        """Raises Misdirected for a foreign Host, Forbidden for a foreign Origin."""
        host = header(scope, b"host")
        self._check_host(scope, host)
        origin = header(scope, b"origin")
        if origin is not None and not self.allows(origin, host):
            raise Forbidden("This origin is not allowed.", expected="the host's own origin")

    def names(self, origin: str) -> bool:
        """Whether ``origin`` is allowed by name, not by ``"*"`` alone."""
        return _origin(origin) in self.origins

    def allows(self, origin: str, host: str | None) -> bool:
        if self.any_origin or self.names(origin):
            return True
        return host is not None and _same_origin(origin, host)

    def _check_host(self, scope: Scope, host: str | None) -> None:
        name = _split(host)[0] if host is not None else None
        if self._hosts is not None:
            if name not in self._hosts and "*" not in self._hosts:
                raise Misdirected(expected="a host in allowed_hosts")
            return
        server = scope.get("server")
        if server and server[0] in LOOPBACK and name is not None and name not in LOOPBACK:
            if not any(urlsplit(origin).hostname == name for origin in self.origins):
                raise Misdirected(expected="localhost; name others in allowed_hosts")


def header(scope: Scope, name: bytes) -> str | None:
    """The value of a header, the first if there are several."""
    for key, value in scope.get("headers", ()):
        if key == name:
            return str(value.decode("latin-1"))
    return None


def _split(host: str) -> tuple[str, int | None]:
    """Name and port of a Host header; IPv6 names lose their brackets."""
    parts = urlsplit(f"//{host}")
    try:
        return (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "", None


def _origin(origin: str) -> str:
    return origin.rstrip("/").lower()


def _same_origin(origin: str, host: str) -> bool:
    """Whether a page of ``origin`` came from ``host``; TLS may have ended before this server."""
    parts = urlsplit(origin)
    default = _DEFAULT_PORTS.get(parts.scheme)
    if default is None or parts.hostname is None:
        return False
    try:
        origin_port = parts.port or default
    except ValueError:
        return False
    name, port = _split(host)
    return parts.hostname == name and origin_port == (port or default)

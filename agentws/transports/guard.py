"""Who may knock: Host and Origin, checked before anything else looks at a request.

CORS does not protect WebSockets, and a page of any site can open one to localhost. So a browser's
Origin must be the host's own or allowed by name; and a gateway that listens on the loopback only
serves loopback names, since a foreign name that resolves there is DNS rebinding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from ..errors import Forbidden, Misdirected

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_OVER_TLS: Final = frozenset({"https", "wss"})

_NO_MORE: Final = (("", "", ""), ("/", "", ""))

Scope = Mapping[str, Any]


class Guard:
    """Checks Host and Origin of every request and handshake.

    Raises TypeError for a string where a list is meant: it would be read letter by letter, and a
    ``"*"`` in it would allow everything. Raises ValueError for what no browser sends as an Origin.
    """

    def __init__(
        self, *, allowed_origins: Sequence[str] | None, allowed_hosts: Sequence[str] | None
    ) -> None:
        for name, given in (("allowed_origins", allowed_origins), ("allowed_hosts", allowed_hosts)):
            if isinstance(given, str):
                raise TypeError(f"{name} is {given!r}; expected a list, as in [{given!r}]")
        for origin in allowed_origins or ():
            _check_named(origin)
        self.origins: Final = frozenset(map(_origin, allowed_origins or ()))
        self.any_origin: Final = "*" in (allowed_origins or ())
        self._hosts = None if allowed_hosts is None else frozenset(map(str.lower, allowed_hosts))

    def check(self, scope: Scope) -> None:
        """Raises Misdirected for a foreign Host, Forbidden for a foreign Origin."""
        host = header(scope, b"host")
        self._check_host(scope, host)
        origin = header(scope, b"origin")
        if origin is not None and not self._allows(origin, host, str(scope.get("scheme"))):
            raise Forbidden("This origin is not allowed.", expected="the host's own origin")

    def names(self, origin: str) -> bool:
        """Whether ``origin`` is allowed by name, not by ``"*"`` alone."""
        return _origin(origin) in self.origins

    def _allows(self, origin: str, host: str | None, scheme: str) -> bool:
        if self.any_origin or self.names(origin):
            return True
        return host is not None and _same_origin(origin, host, tls=scheme in _OVER_TLS)

    def _check_host(self, scope: Scope, host: str | None) -> None:
        name = None if host is None else _split(host)[0]
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
    """Name and port of a Host header; IPv6 names lose their brackets. Raises Misdirected."""
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise Misdirected(expected="a Host header of the form name[:port]") from error


def _origin(origin: str) -> str:
    return origin.rstrip("/").lower()


def _check_named(origin: str) -> None:
    if origin == "*":
        return
    parts = _parsed(origin)
    named = parts is not None and parts.scheme and parts.hostname and "*" not in parts.netloc
    # What is left besides scheme and host is what an Origin header never has.
    if not named or "@" in origin or parts is None or (*parts[2:],) not in _NO_MORE:
        raise ValueError(
            f"allowed_origins has {origin!r}; expected '*' or scheme://host[:port], no wildcards"
        )


def _parsed(origin: str) -> SplitResult | None:
    """The parts of an origin, its port a number; ``None`` for what is none."""
    try:
        parts = urlsplit(origin)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _same_origin(origin: str, host: str, *, tls: bool) -> bool:
    """Whether a page of ``origin`` came from ``host``.

    Without ``tls`` that is either scheme, since TLS may have ended before this server. With it an
    ``http`` page is another origin, and whoever can change an unencrypted page could act from it.
    """
    parts = _parsed(origin)
    default = None if parts is None else _DEFAULT_PORTS.get(parts.scheme)
    if parts is None or default is None or (tls and parts.scheme != "https"):
        return False
    name, port = _split(host)
    # A Host without a port means the default of the scheme that the page came by.
    return parts.hostname == name and (parts.port or default) == (port or default)

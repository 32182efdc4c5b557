"""The guard: checks the Host and Origin headers before anything else reads a request.

CORS does not protect WebSockets: a page of any site can open one to localhost (cross-site WebSocket
hijacking). So a browser's Origin must be the host's own or an allowed one. A gateway on a loopback
address serves loopback names only, as a foreign name that resolves there is DNS rebinding. A
request whose Host is missing, repeated or malformed, or whose Origin is repeated, is refused:
proxies and servers would disagree about its target, or about the page that it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from ..errors import BadRequest, Forbidden, Misdirected
from .names import (
    DEFAULT_PORTS,
    HostPattern,
    allowed_host,
    allowed_origin,
    is_loopback,
    sent_host,
    sent_origin,
    split_origin,
)

_OVER_TLS: Final = frozenset({"https", "wss"})
_NULL: Final = "null"

Scope = Mapping[str, Any]
T = TypeVar("T")


class Guard:
    """Checks Host and Origin of every request and handshake.

    Raises TypeError for a string instead of a list: it would be read letter by letter, and a
    ``"*"`` in it would allow everything. Raises ValueError for a host or an origin that no browser
    could send.
    """

    def __init__(
        self, *, allowed_origins: Sequence[str] | None, allowed_hosts: Sequence[str] | None
    ) -> None:
        named = () if allowed_origins is None else allowed_origins
        origins = _parsed("allowed_origins", named, allowed_origin)
        self.any_origin: Final = "*" in origins
        self.origins: Final = frozenset(origins) - {"*"}
        self._hosts: tuple[HostPattern, ...] | None = None
        if allowed_hosts is not None:
            self._hosts = tuple(_parsed("allowed_hosts", allowed_hosts, allowed_host))
            if not self._hosts:
                raise ValueError("allowed_hosts is empty; expected names of hosts, or None for any")
        parts = map(split_origin, self.origins)
        self._named = frozenset(name for scheme, name, _ in parts if scheme in DEFAULT_PORTS)

    def check(self, scope: Scope) -> None:
        """Raises BadRequest for headers that are malformed, Misdirected and Forbidden."""
        host = _host_of(scope)
        self._check_host(scope, host)
        origin = _origin_of(scope)
        if origin is not None and not self._allows(origin, host, str(scope.get("scheme"))):
            raise Forbidden("This origin is not allowed.", expected="the host's own origin")

    def names(self, origin: str) -> bool:
        """Whether ``origin`` is allowed by name, not by ``"*"`` alone."""
        return sent_origin(origin) in self.origins

    def trusts(self, origin: str) -> bool:
        """Whether a page of ``origin`` may send its user's credentials.

        Never ``null``: any page can have that origin, in a sandboxed frame.
        """
        return origin != _NULL and self.names(origin)

    def _allows(self, origin: str, host: tuple[str, int | None] | None, scheme: str) -> bool:
        if self.any_origin or self.names(origin):
            return True
        return host is not None and _same_origin(origin, *host, tls=scheme in _OVER_TLS)

    def _check_host(self, scope: Scope, host: tuple[str, int | None] | None) -> None:
        name, port = host or (None, None)
        if self._hosts is not None:
            if not any(pattern.matches(name, port) for pattern in self._hosts):
                raise Misdirected(expected="a host in allowed_hosts")
            return
        server = scope.get("server")
        if server and name is not None and is_loopback(server[0]):
            if not is_loopback(name) and name not in self._named:
                raise Misdirected(expected="localhost; name others in allowed_hosts")


def header(scope: Scope, name: bytes) -> str | None:
    """The value of a header, the first if there are several."""
    for key, value in scope.get("headers", ()):
        if key == name:
            return str(value.decode("latin-1"))
    return None


def _origin_of(scope: Scope) -> str | None:
    """The Origin header; ``None`` without one. Raises BadRequest: the second may be the page's."""
    sent = [value for key, value in scope.get("headers", ()) if key == b"origin"]
    if len(sent) > 1:
        raise BadRequest("There is more than one Origin header.", expected="at most one")
    return str(sent[0].decode("latin-1")) if sent else None


def _host_of(scope: Scope) -> tuple[str, int | None] | None:
    """Name and port of the Host header; ``None`` without one. Raises BadRequest."""
    sent = [value for key, value in scope.get("headers", ()) if key == b"host"]
    if len(sent) > 1:
        raise BadRequest("There is more than one Host header.", expected="exactly one")
    if not sent:
        if scope.get("http_version") == "1.1":
            raise BadRequest("There is no Host header.", expected="one, as HTTP/1.1 requires")
        return None
    try:
        return sent_host(sent[0].decode("latin-1"))
    except ValueError as error:
        raise BadRequest("The Host header is malformed.", expected="name[:port]") from error


def _parsed(option: str, value: Sequence[str], parse: Callable[[str], T]) -> list[T]:
    if isinstance(value, str):
        raise TypeError(f"{option} is {value!r}; expected a list, as in [{value!r}]")
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        raise TypeError(f"{option} is {value!r}; expected a list of strings")
    entries = list(value)
    for entry in entries:
        if not isinstance(entry, str):
            raise TypeError(f"{option} has {entry!r}; expected a string")
    try:
        return [parse(entry) for entry in entries]
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def _same_origin(origin: str, name: str, port: int | None, *, tls: bool) -> bool:
    """Whether a page of ``origin`` came from the host of that name and port.

    Without ``tls`` both schemes are accepted, as a proxy may have terminated TLS. With it, an
    ``http`` page is another origin: an attacker in the network could have changed that page.
    """
    sent = sent_origin(origin)
    if sent is None:
        return False
    scheme, of, its_port = split_origin(sent)
    if scheme not in DEFAULT_PORTS or (tls and scheme != "https"):
        return False
    # A Host header without a port means the default port of the page's scheme.
    return of == name and its_port == (port or DEFAULT_PORTS[scheme])

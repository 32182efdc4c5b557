"""Turns the URL that a user gives into the WebSocket addresses that the gateway may have."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urljoin, urlsplit, urlunsplit

from ..errors import BadRequest
from .transport import Opening

ENDPOINT: Final = "/ws/chat"
EXPECTED: Final = "ws://, wss://, http:// or https:// and a host"
_SCHEMED: Final = re.compile(r"\s*[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_PORTS: Final = {"ws": 80, "wss": 443}
_PATH: Final = "%/:@!$&'()*+,;=~"
"""The characters of a path that stay as they are; people write others, such as spaces."""
_SECRET: Final = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)
"""The secret parts of a URL: its credentials, and its query, which may name a session."""


def has_scheme(text: str) -> bool:
    """Whether an address begins with a scheme. One slash is enough: ``http:/host`` has lost the
    other, and ``http`` is not its host.
    """
    return _SCHEMED.match(text) is not None


def addresses(url: str, opening: Opening) -> list[str]:
    """The WebSocket addresses that ``url`` may mean, the likeliest first, with the query of
    ``opening``.

    ``url`` is the address of the gateway's page, with or without a trailing slash, or of its
    endpoint. A proxy may give the endpoint another path: so the path of ``url`` itself is the
    second candidate. Raises BadRequest when ``url`` is not a valid address.
    """
    parts = _parsed(url)
    given = quote(parts.path, safe=_PATH)
    path = given.rstrip("/")
    paths = [path] if path.endswith(ENDPOINT) else [path + ENDPOINT, given or "/"]
    netloc, query = _netloc(parts), _query(parts.query, opening)
    return [urlunsplit((parts.scheme, netloc, path, query, "")) for path in paths]


def redact(url: str) -> str:
    """``url`` without credentials and without its query, which may name a session: safe to show in
    an error message. Raises BadRequest."""
    parts = _parsed(url)
    return urlunsplit((parts.scheme, _host(parts), parts.path, "", ""))


def redirect_target(address: str, location: str) -> str | None:
    """The address that a redirect from ``address`` leads to; ``None`` if that is another server.

    Another server would receive the credentials. The same host on the default port, with TLS
    instead of without, counts as the same server.
    """
    try:
        old, new = _parsed(address), _parsed(urljoin(address, location))
    except (BadRequest, ValueError):
        return None
    same = _origin(old) == _origin(new)
    upgraded = old.hostname == new.hostname and (_origin(old)[2], _origin(new)[2]) == (80, 443)
    if not same and not (upgraded and new.scheme == "wss"):
        return None
    userinfo = old.netloc[: old.netloc.rfind("@") + 1]
    return urlunsplit(new._replace(netloc=userinfo + _host(new)))


def _parsed(url: str) -> SplitResult:
    """``url`` with a WebSocket scheme. Raises BadRequest, and TypeError for what is no text."""
    if not isinstance(url, str):
        raise TypeError(f"the address of the gateway is {url!r:.100}; expected a str")
    try:
        # An argument of a command line may hold bytes that are not valid text.
        url.encode()
        parts = urlsplit(url.strip())
        parts = parts._replace(scheme=_SCHEMES[parts.scheme])
        if not parts.hostname or parts.port == 0:
            raise ValueError(url)
    except (KeyError, ValueError) as error:
        raise BadRequest(
            f"This is not an address of a gateway: {_SECRET.sub('', url)}.",
            expected=EXPECTED,
        ) from error
    return parts


def _query(given: str, opening: Opening) -> str:
    asked = opening.query
    kept = [pair for pair in parse_qsl(given, keep_blank_values=True) if pair[0] not in asked]
    try:
        return urlencode([*kept, *asked.items()])
    except UnicodeEncodeError as error:
        raise BadRequest("The session id or the agent name is not valid text.") from error


def _origin(parts: SplitResult) -> tuple[str, str | None, int]:
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def _netloc(parts: SplitResult) -> str:
    """Host and port with the credentials; a user may have no password."""
    userinfo = parts.netloc.rpartition("@")[0]
    if userinfo and ":" not in userinfo:
        userinfo += ":"
    return f"{userinfo}@{_host(parts)}" if userinfo else _host(parts)


def _host(parts: SplitResult) -> str:
    """Host and port as written, without credentials."""
    return parts.netloc.rpartition("@")[2]

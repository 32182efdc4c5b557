"""Where the URL that a chat is given leads: the addresses at which its WebSocket may be."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from ..errors import BadRequest
from .transport import Opening

ENDPOINT: Final = "/ws/chat"
_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_PORTS: Final = {"ws": 80, "wss": 443}
_SECRET: Final = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)
"""Of what may be a URL: credentials, and what may name a session."""


def addresses(url: str, opening: Opening) -> list[str]:
    """The WebSocket addresses that ``url`` may stand for, the likeliest first.

    ``url`` is the gateway's address (its page's, with or without the slash at its end) or that of
    its endpoint. What does not end like the endpoint may be it all the same, where a proxy gives
    it a path of its own: that is the second. All ask for ``opening``. Raises BadRequest.
    """
    parts = _parsed(url)
    path = parts.path.rstrip("/")
    paths = [path] if path.endswith(ENDPOINT) else [path + ENDPOINT, parts.path or "/"]
    query = _query(parts.query, opening)
    return [urlunsplit((parts.scheme, parts.netloc, path, query, "")) for path in paths]


def shown(url: str) -> str:
    """``url`` for a message: without credentials, and without a session that whoever reads it
    could follow. Raises BadRequest."""
    parts = _parsed(url)
    return urlunsplit((parts.scheme, _host(parts), parts.path, "", ""))


def redirected(address: str, location: str) -> str | None:
    """Where ``address`` is said to be instead, if that is the same server: to another one, the
    credentials would go along. The same host with TLS, where there was none, is the same server."""
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
    """``url``, whose scheme is then that of a WebSocket."""
    try:
        # What came from a command line may hold bytes that are no text.
        url.encode()
        parts = urlsplit(url.strip())
        parts = parts._replace(scheme=_SCHEMES[parts.scheme])
        if not parts.hostname or parts.port == 0:
            raise ValueError(url)
    except (KeyError, ValueError) as error:
        raise BadRequest(
            f"This is not an address to chat with: {_SECRET.sub('', url)}.",
            expected="ws://, wss://, http:// or https:// and a host",
        ) from error
    return parts


def _query(given: str, opening: Opening) -> str:
    asked = opening.query
    kept = [pair for pair in parse_qsl(given, keep_blank_values=True) if pair[0] not in asked]
    try:
        return urlencode([*kept, *asked.items()])
    except UnicodeEncodeError as error:
        raise BadRequest("The session or the agent is not text.") from error


def _origin(parts: SplitResult) -> tuple[str, str | None, int]:
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def _host(parts: SplitResult) -> str:
    """Host and port as they were written."""
    return parts.netloc.rpartition("@")[2]

"""The opening handshake of RFC 6455, server side: parse the request, build the response."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

Headers = list[tuple[bytes, bytes]]

_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# Set by the server: an application that sets them too would make the response ambiguous.
_OWN_HEADERS = frozenset(
    {b"upgrade", b"connection", b"sec-websocket-accept", b"sec-websocket-extensions"}
)
# Interned: the scope keeps header names as long as the connection lives.
_COMMON_NAMES = {
    name: name
    for name in (
        b"host",
        b"upgrade",
        b"connection",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-protocol",
        b"sec-websocket-extensions",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"origin",
        b"cookie",
        b"user-agent",
        b"authorization",
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
        b"pragma",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-real-ip",
    )
}


_ALLOWED: Headers = [(b"allow", b"GET")]
_OFFERED: Headers = [
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"connection", b"close, upgrade"),
]
"""What a refusal with 405, and one with 426, has to say (RFC 9110, 15.5; RFC 6455, 4.4)."""


class BadHandshake(Exception):
    """The request can't be upgraded; `status` and `headers` are those of the refusal."""

    def __init__(self, status: HTTPStatus, reason: str, headers: Headers | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers or []


class UpgradeRequest(NamedTuple):
    """A parsed upgrade request; `accept` is the value for `Sec-WebSocket-Accept`."""

    target: bytes
    headers: Headers
    subprotocols: list[str]
    accept: bytes


def parse_upgrade(request: bytes) -> UpgradeRequest:
    """Parse a request head that an HTTP parser has already checked.

    Raises `BadHandshake` when it does not ask for a WebSocket of version 13.
    """
    lines = request.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, _ = lines[0].split(b" ", 2)
    headers = [_header(line) for line in lines[1:]]
    if method != b"GET":
        reason = "expected GET to open a WebSocket"
        raise BadHandshake(HTTPStatus.METHOD_NOT_ALLOWED, reason, _ALLOWED)
    if _values(headers, b"sec-websocket-version") != [b"13"]:
        raise BadHandshake(HTTPStatus.UPGRADE_REQUIRED, "expected WebSocket version 13", _OFFERED)
    keys = _values(headers, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise BadHandshake(HTTPStatus.BAD_REQUEST, "expected a Sec-WebSocket-Key of 16 bytes")
    offered = b",".join(_values(headers, b"sec-websocket-protocol")).decode("latin-1")
    subprotocols = [token for part in offered.split(",") if (token := part.strip())]
    accept = base64.b64encode(hashlib.sha1(keys[0] + _ACCEPT_GUID, usedforsecurity=False).digest())
    return UpgradeRequest(target, headers, subprotocols, accept)


def accept_response(
    accept: bytes, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """The 101 response, with the headers of the server and the application."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"upgrade: websocket",
        b"connection: Upgrade",
        b"sec-websocket-accept: " + accept,
    ]
    if subprotocol:
        lines.append(b"sec-websocket-protocol: " + _clean(subprotocol.encode("latin-1")))
    lines += [line for name, value in headers if (line := _extra_line(name, value))]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def http_response(status: int, headers: Headers, body: bytes) -> bytes:
    """A complete HTTP response that refuses the upgrade and closes the connection."""
    own = {name.lower() for name, _ in headers}
    defaults = (
        (b"date", formatdate(usegmt=True).encode()),
        (b"connection", b"close"),
        (b"content-length", b"%d" % len(body)),
        (b"content-type", b"text/plain; charset=utf-8"),
    )
    lines = [b"HTTP/1.1 %d %b" % (status, _phrase(status))]
    lines += [_clean(name) + b": " + _clean(value) for name, value in headers]
    lines += [name + b": " + value for name, value in defaults if name not in own]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    name = name.lower()
    return _COMMON_NAMES.get(name, name), value.strip()


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False


def _extra_line(name: bytes, value: bytes) -> bytes:
    name = name.lower()
    return b"" if name in _OWN_HEADERS else _clean(name) + b": " + _clean(value)


def _clean(part: bytes) -> bytes:
    # A line break would let a value add headers (response splitting).
    if b"\r" in part or b"\n" in part or b"\0" in part:
        raise ValueError("a header must not contain CR, LF or NUL")
    return part


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""

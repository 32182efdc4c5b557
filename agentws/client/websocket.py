"""The transport over a real network, by the ``websockets`` library."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
)
from websockets.typing import Subprotocol

from ..errors import BadRequest
from ..protocol.frames import NATIVE
from .transport import Opening, TransportClosed

# A server sends no more than its max_event_size at once, which a host may have set high.
MAX_MESSAGE_SIZE: Final = 64 * 1024 * 1024
# A peer that does not answer a close is not worth more waiting.
CLOSE_TIMEOUT: Final = 2.0
_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


class DirectConnect(connect):
    """Goes where it was told and nowhere else: elsewhere the credentials would go along."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class WebSocketTransport:
    """An open WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, text: str, /) -> None:
        with _closing():
            await self._connection.send(text)

    async def recv(self) -> str | bytes:
        with _closing():
            return await self._connection.recv()

    async def close(self) -> None:
        await self._connection.close()


async def open_websocket(
    url: str,
    opening: Opening,
    *,
    headers: Mapping[str, str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> WebSocketTransport:
    """Opens ``url``. Raises TransportClosed, or BadRequest for what is not an address."""
    # Without a context the library makes the usual one, but only where it is given none at all.
    tls: dict[str, Any] = {} if ssl_context is None else {"ssl": ssl_context}
    # Keepalive and the deadline for opening are the chat's, which can tell a slow server from a
    # dead one; compression costs both sides more than it saves on small frames.
    with _opening(url):
        connection = await DirectConnect(
            address(url, opening),
            subprotocols=[Subprotocol(one) for one in opening.subprotocols],
            additional_headers=headers,
            compression=None,
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT,
            max_size=MAX_MESSAGE_SIZE,
            **tls,
        )
    if connection.subprotocol != NATIVE:
        await connection.close()
        raise TransportClosed(
            4400, f"This server does not speak {NATIVE} at {url}.", retryable=False
        )
    return WebSocketTransport(connection)


def address(url: str, opening: Opening) -> str:
    """``url`` as a WebSocket address that asks for ``opening``; raises BadRequest."""
    try:
        parts = urlsplit(url)
        scheme = _SCHEMES[parts.scheme]
        if not parts.hostname or (parts.port or 0) < 0:
            raise ValueError(url)
    except (KeyError, ValueError) as error:
        raise BadRequest(
            f"This is not an address to chat with: {url}",
            expected="ws://, wss://, http:// or https:// and a host",
        ) from error
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *opening.query.items()])
    return urlunsplit((scheme, parts.netloc, parts.path, query, ""))


@contextmanager
def _closing() -> Iterator[None]:
    try:
        yield
    except ConnectionClosed as closed:
        received = closed.rcvd
        code, reason = (received.code, received.reason) if received else (1006, "")
        raise TransportClosed(code, reason) from closed


@contextmanager
def _opening(url: str) -> Iterator[None]:
    """Tells what may pass (a server that restarts) from what will not (a wrong address)."""
    try:
        yield
    except InvalidURI as error:
        raise BadRequest(f"This is not an address to chat with: {error.uri}") from error
    except InvalidStatus as error:
        raise _refused(error) from error
    except InvalidMessage as error:
        raise TransportClosed(1006, "The server hung up during the handshake.") from error
    except InvalidHandshake as error:
        raise TransportClosed(4400, f"No WebSocket there: {error}", retryable=False) from error
    except ssl.SSLCertVerificationError as error:
        raise TransportClosed(1015, str(error), retryable=False) from error
    except OSError as error:
        raise TransportClosed(1006, f"{url} can't be reached: {_plain(error)}.") from error


def _refused(error: InvalidStatus) -> TransportClosed:
    status = error.response.status_code
    retry_after = _header(error, "Retry-After")
    return TransportClosed(
        4000 + status,
        f"The server answered {status} to the handshake.{_hint(error)}",
        retryable=status in (408, 425, 429) or status >= 500,
        retry_after=float(retry_after) if retry_after.isdecimal() else None,
    )


def _hint(error: InvalidStatus) -> str:
    match error.response.status_code:
        case 301 | 302 | 303 | 307 | 308:
            place = _header(error, "Location")
            return f" It wants to be asked at {place} instead, and redirects are not followed."
        case 403 | 404:
            # Many servers answer 403 for a WebSocket at a path that they do not know.
            return " Is the path right?"
        case _:
            return ""


def _header(error: InvalidStatus, name: str) -> str:
    """The first of that name: it may come several times, and hold what is no text."""
    values = error.response.headers.get_all(name)
    return values[0].encode("ascii", "replace").decode() if values else ""


def _plain(error: OSError) -> str:
    """What the operating system says, without the numbers and addresses that asyncio adds."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error) or type(error).__name__
    return os.strerror(error.errno)

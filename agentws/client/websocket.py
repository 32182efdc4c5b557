"""The transport over the network, with the ``websockets`` library."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)
from websockets.typing import Subprotocol

from ..errors import BadRequest
from ..protocol.frames import NATIVE, Failure
from .address import EXPECTED, addresses, redact, redirect_target
from .errors import BadProxy
from .proxies import Proxy, ProxySetting, proxy_for
from .transport import Opening, TransportClosed

# The largest message is one event: the server's max_event_size, which a host may have set high.
MAX_MESSAGE_SIZE: Final = 64 * 1024 * 1024
# Seconds to wait for the server's answer to a close.
CLOSE_TIMEOUT: Final = 2.0
_TRANSIENT: Final = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses of a proxy after which a retry may succeed."""
_failures: Final = msgspec.json.Decoder(Failure)
MAX_ADDRESSES: Final = 5
"""Addresses to try for one URL, including redirects."""


class ConnectWithoutRedirects(connect):
    """Follows no redirect by itself: another server would receive the credentials."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class WebSocketTransport:
    """An open WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, text: str, /) -> None:
        with _translating_close():
            await self._connection.send(text)

    async def recv(self) -> str | bytes:
        with _translating_close():
            return await self._connection.recv()

    async def close(self) -> None:
        await self._connection.close()


class NoGateway(TransportClosed):
    """A server answered, but there is no gateway at that address. ``location`` is where the server
    redirects to, if it does."""

    def __init__(self, code: int, reason: str, *, location: str = "") -> None:
        super().__init__(code, reason, retryable=False)
        self.location = location


async def open_websocket(
    url: str,
    opening: Opening,
    *,
    headers: Mapping[str, str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    proxy: ProxySetting = True,
) -> WebSocketTransport:
    """Opens the first address that has a gateway, of those that ``url`` may mean.

    Raises TransportClosed, BadProxy, and BadRequest when ``url`` is not a valid address.
    """
    left, tried = addresses(url, opening), list[str]()
    refusals: list[NoGateway] = []
    while left and len(tried) < MAX_ADDRESSES:
        address = left.pop(0)
        tried.append(address)
        try:
            return await _open(
                address, opening, headers=headers, ssl_context=ssl_context, proxy=proxy
            )
        except NoGateway as refused:
            refusals.append(refused)
            target = redirect_target(address, refused.location) if refused.location else None
            found = [] if target is None else addresses(target, opening)
            left = [one for one in (*found, *left) if one not in tried]
    # The likeliest address was tried first, so its error says most.
    raise refusals[0]


async def _open(
    address: str,
    opening: Opening,
    *,
    headers: Mapping[str, str] | None,
    ssl_context: ssl.SSLContext | None,
    proxy: ProxySetting,
) -> WebSocketTransport:
    chosen = proxy_for(address, proxy)
    offered = [Subprotocol(one) for one in opening.subprotocols]
    # The library makes its default context only if it gets no ``ssl`` argument at all.
    with_context = ssl_context is not None and address.startswith("wss:")
    tls: dict[str, Any] = {"ssl": ssl_context} if with_context else {}
    # The chat does its own heartbeat and has its own deadline for the handshake, so the library's
    # are off. Compression costs both sides more than it saves on small frames.
    with _translating_opening(address, chosen):
        connection = await ConnectWithoutRedirects(
            address,
            subprotocols=offered,
            additional_headers=headers,
            proxy=None if chosen is None else chosen.url,
            compression=None,
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT,
            max_size=MAX_MESSAGE_SIZE,
            **tls,
        )
    if connection.subprotocol != NATIVE:
        await connection.close()
        raise NoGateway(4400, f"This server does not speak {NATIVE} at {redact(address)}.")
    return WebSocketTransport(connection)


def unreachable(url: str, proxy: ProxySetting) -> str:
    """The message for a server that gives no answer at all. Raises as :func:`open_websocket`."""
    chosen = proxy_for(addresses(url, Opening())[0], proxy)
    if chosen is None:
        return f"{redact(url)} can't be reached: there is no answer."
    return chosen.failure(f"does not lead to {redact(url)}: there is no answer")


@contextmanager
def _translating_close() -> Iterator[None]:
    try:
        yield
    except ConnectionClosed as closed:
        received = closed.rcvd
        code, reason = (received.code, received.reason) if received else (1006, "")
        raise TransportClosed(code, reason) from closed


@contextmanager
def _translating_opening(address: str, proxy: Proxy | None) -> Iterator[None]:
    """Turns the library's errors into ours: retryable (a server that restarts) or not (a wrong
    address)."""
    try:
        yield
    except (InvalidURI, UnicodeError) as error:
        message = f"This is not an address of a gateway: {redact(address)}."
        raise BadRequest(message, expected=EXPECTED) from error
    except InvalidStatus as error:
        raise _status_error(error) from error
    except InvalidMessage as error:
        raise TransportClosed(1006, _not_http(error, address)) from error
    except (InvalidProxy, ProxyError, ImportError) as error:
        if proxy is None:
            raise
        raise _proxy_failed(error, proxy) from error
    except InvalidHandshake as error:
        raise NoGateway(4400, f"There is no WebSocket at {redact(address)}: {error}") from error
    except ssl.SSLCertVerificationError as error:
        through = "" if proxy is None else f", through {proxy.name}"
        raise TransportClosed(1015, f"{error}{through}", retryable=False) from error
    except OSError as error:
        why = f"can't be reached: {_system_message(error)}"
        message = f"{redact(address)} {why}." if proxy is None else proxy.failure(why)
        raise TransportClosed(1006, message) from error


def _not_http(error: InvalidMessage, address: str) -> str:
    """The message for an answer to the handshake that is not HTTP/1.1."""
    hint = " Does it expect https?" if address.startswith("ws:") else ""
    if isinstance(error.__cause__, EOFError):
        return f"The server closed the connection during the handshake.{hint}"
    return f"The server at {redact(address)} does not speak HTTP/1.1, so it is not a gateway."


def _status_error(error: InvalidStatus) -> TransportClosed:
    status = error.response.status_code
    message = f"The server answered {status} to the handshake.{_hint(error)}"
    if status in (408, 425, 429) or status >= 500:
        retry_after = _header(error, "Retry-After")
        return TransportClosed(
            4000 + status,
            message,
            retryable=True,
            retry_after=float(retry_after) if retry_after.isdecimal() else None,
        )
    if status == 401:
        return TransportClosed(4000 + status, message, retryable=False)
    return NoGateway(4000 + status, message, location=_header(error, "Location"))


def _hint(error: InvalidStatus) -> str:
    """What the answer says, if a gateway has sent it, or what may be wrong."""
    try:
        said = _failures.decode(error.response.body or b"")
    except msgspec.DecodeError:
        pass
    else:
        return f" It says: {said.message}" + (
            f" Expected {said.expected}." if said.expected else ""
        )
    match error.response.status_code:
        case 301 | 302 | 303 | 307 | 308:
            place = _header(error, "Location")
            if not place:
                return ""
            return f" It redirects to {place}, and redirects to other servers are not followed."
        case 403 | 404:
            # Many servers answer 403 to a WebSocket handshake at an unknown path.
            return " Is the path right?"
        case 400 | 426:
            return " Does every proxy in between pass WebSockets on?"
        case 421:
            return " It does not serve this host name."
        case _:
            return ""


def _header(error: InvalidStatus, name: str) -> str:
    """The first header of that name, as ASCII: it may occur repeatedly, and hold any bytes."""
    values = error.response.headers.get_all(name)
    return values[0].encode("ascii", "replace").decode() if values else ""


def _proxy_failed(error: Exception, proxy: Proxy) -> Exception:
    match error:
        case ImportError():
            library = 'needs the package python-socks (pip install "python-socks[asyncio]")'
            return BadProxy(proxy.failure(library))
        case InvalidProxyStatus(response=response) if response.status_code in _TRANSIENT:
            what = f"can't reach the server at the moment: it answered {response.status_code}"
            return TransportClosed(1006, proxy.failure(what))
        case InvalidProxyStatus(response=response):
            what = f"refuses to connect to the server: it answered {response.status_code}"
            return BadProxy(proxy.failure(what))
        case InvalidProxyMessage(__cause__=EOFError()):
            return TransportClosed(1006, proxy.failure("closed the connection"))
        case ProxyError(__cause__=cause) if not isinstance(error, InvalidProxyMessage):
            return TransportClosed(1006, proxy.failure(f"can't reach the server: {cause}"))
        case _:
            return BadProxy(proxy.failure("does not answer like a proxy"))


def _system_message(error: OSError) -> str:
    """The operating system's message, without the numbers and addresses that libraries add."""
    while isinstance(error.__cause__, OSError):
        error = error.__cause__
    if isinstance(error, ssl.SSLError):
        return f"there is no TLS ({error.reason})" if error.reason else "there is no TLS"
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error) or type(error).__name__
    return os.strerror(error.errno)

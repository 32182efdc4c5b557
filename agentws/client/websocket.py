"""The transport over a real network, by the ``websockets`` library."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

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
from ..protocol.frames import NATIVE
from .address import addresses, redirected, shown
from .errors import BadProxy
from .proxies import Proxy, ProxySetting, proxy_for
from .transport import Opening, TransportClosed

# A server sends no more than its max_event_size at once, which a host may have set high.
MAX_MESSAGE_SIZE: Final = 64 * 1024 * 1024
# A peer that does not answer a close is not worth more waiting.
CLOSE_TIMEOUT: Final = 2.0
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
"""What a proxy answers that will not answer it for ever."""
MAX_ASKED: Final = 5
"""Addresses that are asked for one URL, redirects among them."""


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


class NoGateway(TransportClosed):
    """A server answered the handshake, and there is no gateway at that address: it may be at
    another one, at ``location`` where the server said so."""

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
    """Opens ``url``, or where the gateway of that address has its endpoint.

    Raises TransportClosed, BadProxy, and BadRequest for what is not an address.
    """
    waiting, asked = addresses(url, opening), list[str]()
    refusals: list[NoGateway] = []
    while waiting and len(asked) < MAX_ASKED:
        address = waiting.pop(0)
        asked.append(address)
        try:
            return await _open(
                address, opening, headers=headers, ssl_context=ssl_context, proxy=proxy
            )
        except NoGateway as refused:
            refusals.append(refused)
            place = redirected(address, refused.location) if refused.location else None
            found = [] if place is None else addresses(place, opening)
            waiting = [one for one in (*found, *waiting) if one not in asked]
    # The likeliest address was asked first.
    raise refusals[0]


async def _open(
    address: str,
    opening: Opening,
    *,
    headers: Mapping[str, str] | None,
    ssl_context: ssl.SSLContext | None,
    proxy: ProxySetting,
) -> WebSocketTransport:
    through = proxy_for(address, proxy)
    offered = [Subprotocol(one) for one in opening.subprotocols]
    # Without a context the library makes the usual one, but only where it is given none at all.
    with_context = ssl_context is not None and address.startswith("wss:")
    tls: dict[str, Any] = {"ssl": ssl_context} if with_context else {}
    # Keepalive and the deadline for opening are the chat's, which can tell a slow server from a
    # dead one; compression costs both sides more than it saves on small frames.
    with _opening(address, through):
        connection = await DirectConnect(
            address,
            subprotocols=offered,
            additional_headers=headers,
            proxy=None if through is None else through.url,
            compression=None,
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT,
            max_size=MAX_MESSAGE_SIZE,
            **tls,
        )
    if connection.subprotocol != NATIVE:
        await connection.close()
        raise NoGateway(4400, f"This server does not speak {NATIVE} at {shown(address)}.")
    return WebSocketTransport(connection)


def unreachable(url: str, proxy: ProxySetting) -> str:
    """What to say where nothing answers at all. Raises as :func:`open_websocket`."""
    through = proxy_for(addresses(url, Opening())[0], proxy)
    if through is None:
        return f"{shown(url)} can't be reached: there is no answer."
    return through.failed(f"does not lead to {shown(url)}: there is no answer")


@contextmanager
def _closing() -> Iterator[None]:
    try:
        yield
    except ConnectionClosed as closed:
        received = closed.rcvd
        code, reason = (received.code, received.reason) if received else (1006, "")
        raise TransportClosed(code, reason) from closed


@contextmanager
def _opening(address: str, proxy: Proxy | None) -> Iterator[None]:
    """Tells what may pass (a server that restarts) from what will not (a wrong address)."""
    try:
        yield
    except (InvalidURI, UnicodeError) as error:
        raise BadRequest(f"This is not an address to chat with: {shown(address)}.") from error
    except InvalidStatus as error:
        raise _refused(error) from error
    except InvalidMessage as error:
        raise TransportClosed(1006, _no_answer(error, address)) from error
    except (InvalidProxy, ProxyError, ImportError) as error:
        if proxy is None:
            raise
        raise _proxy_failed(error, proxy) from error
    except InvalidHandshake as error:
        raise NoGateway(4400, f"No WebSocket there: {error}") from error
    except ssl.SSLCertVerificationError as error:
        through = "" if proxy is None else f", through {proxy.name}"
        raise TransportClosed(1015, f"{error}{through}", retryable=False) from error
    except OSError as error:
        why = f"can't be reached: {_plain(error)}"
        said = f"{shown(address)} {why}." if proxy is None else proxy.failed(why)
        raise TransportClosed(1006, said) from error


def _no_answer(error: InvalidMessage, address: str) -> str:
    """What to say where the handshake was not answered in HTTP/1.1."""
    plain = " Does it want https?" if address.startswith("ws:") else ""
    if isinstance(error.__cause__, EOFError):
        return f"The server hung up during the handshake.{plain}"
    return f"What answers at {shown(address)} does not speak HTTP/1.1: there is no gateway."


def _refused(error: InvalidStatus) -> TransportClosed:
    status = error.response.status_code
    said = f"The server answered {status} to the handshake.{_hint(error)}"
    if status in (408, 425, 429) or status >= 500:
        retry_after = _header(error, "Retry-After")
        return TransportClosed(
            4000 + status,
            said,
            retryable=True,
            retry_after=float(retry_after) if retry_after.isdecimal() else None,
        )
    if status == 401:
        return TransportClosed(4000 + status, said, retryable=False)
    return NoGateway(4000 + status, said, location=_header(error, "Location"))


def _hint(error: InvalidStatus) -> str:
    match error.response.status_code:
        case 301 | 302 | 303 | 307 | 308:
            place = _header(error, "Location")
            if not place:
                return ""
            return (
                f" It wants to be asked at {place} instead, and redirects to other servers are not"
                " followed."
            )
        case 403 | 404:
            # Many servers answer 403 for a WebSocket at a path that they do not know.
            return " Is the path right?"
        case 421:
            return " It does not serve this host name."
        case _:
            return ""


def _header(error: InvalidStatus, name: str) -> str:
    """The first of that name: it may come several times, and hold what is no text."""
    values = error.response.headers.get_all(name)
    return values[0].encode("ascii", "replace").decode() if values else ""


def _proxy_failed(error: Exception, proxy: Proxy) -> Exception:
    match error:
        case ImportError():
            library = 'needs the package python-socks (pip install "python-socks[asyncio]")'
            return BadProxy(proxy.failed(library))
        case InvalidProxyStatus(response=response) if response.status_code in _PASSING:
            what = f"can't reach the server just now: it answered {response.status_code}"
            return TransportClosed(1006, proxy.failed(what))
        case InvalidProxyStatus(response=response):
            what = f"refuses to connect to the server: it answered {response.status_code}"
            return BadProxy(proxy.failed(what))
        case InvalidProxyMessage(__cause__=EOFError()):
            return TransportClosed(1006, proxy.failed("hung up"))
        case ProxyError(__cause__=cause) if not isinstance(error, InvalidProxyMessage):
            return TransportClosed(1006, proxy.failed(f"can't reach the server: {cause}"))
        case _:
            return BadProxy(proxy.failed("does not answer as a proxy does"))


def _plain(error: OSError) -> str:
    """What the operating system says, without the numbers and addresses that libraries add."""
    while isinstance(error.__cause__, OSError):
        error = error.__cause__
    if isinstance(error, ssl.SSLError):
        return f"there is no TLS ({error.reason})" if error.reason else "there is no TLS"
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error) or type(error).__name__
    return os.strerror(error.errno)

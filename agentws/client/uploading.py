"""The files of a chat over HTTP, beside its WebSocket: in a thread, by the standard library.

The connection is opened like the chat's own: the same server, headers, proxy and TLS settings.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import IO, Final, NamedTuple, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit
from urllib.request import BaseHandler, HTTPSHandler, ProxyHandler, Request, build_opener

import msgspec

from ..errors import AgentwsError, NotFound, TooLarge
from ..protocol.bodies import Failure, FileView
from .address import ENDPOINT, addresses
from .errors import BadProxy, ChatClosed, Disconnected, refusal
from .proxies import Proxy, ProxySetting, proxy_for
from .transport import Opening

BLOCK: Final = 64 * 1024
"""Bytes that are sent at once; after each of them ``progress`` is called."""
TIMEOUT: Final = 60.0
"""Seconds without any progress of the connection."""
_HTTP: Final = {"ws": "http", "wss": "https"}

Source = bytes | str | os.PathLike[str]
"""The content of a file, or the path of one."""
Progress = Callable[[int, int], None]
"""Called with the bytes that were sent and the size of the file, on the event loop."""


class Upload(NamedTuple):
    """One file to upload."""

    source: Source
    name: str
    type: str | None
    session: str | None
    token: str | None
    progress: Progress | None
    limit: int | None
    """The most bytes that the server takes: a larger file is not sent."""


class Files(Protocol):
    """What a chat does with files, over HTTP."""

    async def upload(self, upload: Upload) -> FileView:
        """Raises the server's refusal, Disconnected, BadProxy, and OSError for a file that can't be
        read."""

    async def delete(self, id: str, *, session: str | None, token: str | None) -> None:
        """Raises the server's refusal, Disconnected, and BadProxy."""


class GatewayFiles:
    """The files of the gateway at ``url``."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None,
        ssl_context: ssl.SSLContext | None,
        proxy: ProxySetting,
    ) -> None:
        self._url = url
        self._headers = dict(headers or {})
        self._ssl_context = ssl_context
        self._proxy = proxy

    async def upload(self, upload: Upload) -> FileView:
        stopped = threading.Event()
        report = _reporter(upload.progress)
        try:
            return await asyncio.to_thread(self._send, upload, report, stopped)
        finally:
            stopped.set()

    async def delete(self, id: str, *, session: str | None, token: str | None) -> None:
        address = self._address(session)
        headers = {**self._headers, **_authorization(token)}
        request = Request(_file_url(address, id), method="DELETE", headers=headers)
        await asyncio.to_thread(self._exchange, request, address)

    def _send(self, upload: Upload, report: Progress, stopped: threading.Event) -> FileView:
        address = self._address(upload.session)
        with closing(_opened(upload.source)) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if upload.limit is not None and size > upload.limit:
                raise TooLarge("This file is too large.", expected=f"at most {upload.limit} bytes")
            request = Request(
                _file_url(address, upload.name),
                data=_blocks(file, size, report, stopped),
                method="PUT",
                headers={**self._headers, **_headers(upload, size)},
            )
            return msgspec.json.decode(self._exchange(request, address), type=FileView)

    def _address(self, session: str | None) -> str:
        return addresses(self._url, Opening(session=session))[0]

    def _exchange(self, request: Request, address: str) -> bytes:
        chosen = proxy_for(address, self._proxy)
        opener = build_opener(*self._handlers(chosen))
        try:
            with opener.open(request, timeout=TIMEOUT) as response:
                return bytes(response.read())
        except HTTPError as error:
            raise _refusal(error) from error
        except (URLError, ConnectionError, TimeoutError) as error:
            if isinstance(error, URLError) and isinstance(error.reason, _FileChanged):
                raise error.reason from None
            raise Disconnected(_lost(error, chosen)) from error

    def _handlers(self, chosen: Proxy | None) -> list[BaseHandler]:
        through: dict[str, str] = {}
        if chosen is not None:
            if chosen.url.startswith("socks"):
                raise BadProxy(chosen.failure("is a SOCKS proxy, which takes no files"))
            through = {"http": chosen.url, "https": chosen.url}
        return [ProxyHandler(through), HTTPSHandler(context=self._ssl_context)]


def name_of(source: Source, name: str | None) -> str:
    """The name that a file is uploaded under."""
    if name is None and not isinstance(source, bytes):
        name = Path(source).name
    # The name of a file need not be valid text.
    whole = (name or "").encode(errors="replace").decode()
    return whole.replace("\\", "/").rpartition("/")[2] or "file"


def _opened(source: Source) -> IO[bytes]:
    return BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _headers(upload: Upload, size: int) -> dict[str, str]:
    found = {"Content-Length": str(size)}
    found["Content-Type"] = upload.type or "application/octet-stream"
    return {**found, **_authorization(upload.token)}


def _authorization(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _file_url(address: str, last: str) -> str:
    parts = urlsplit(address)
    # No file has the id "file": it stands for an empty one, which would be another route.
    path = f"{parts.path.removesuffix(ENDPOINT)}/files/{quote(last, safe='') or 'file'}"
    query = [pair for pair in parse_qsl(parts.query) if pair[0] not in ("after", "agent")]
    return urlunsplit((_HTTP[parts.scheme], parts.netloc, path, urlencode(query), ""))


class _FileChanged(OSError):
    """The file is not the one whose size was told to the server."""


def _blocks(
    file: IO[bytes], size: int, report: Progress, stopped: threading.Event
) -> Iterator[bytes]:
    sent = 0
    # The server was told the size; the file may become larger or smaller meanwhile.
    while sent < size:
        if stopped.is_set():
            raise ConnectionAbortedError("the upload was cancelled")
        block = file.read(min(BLOCK, size - sent))
        if not block:
            raise _FileChanged("the file became smaller while it was sent")
        yield block
        sent += len(block)
        report(sent, size)


def _reporter(progress: Progress | None) -> Progress:
    if progress is None:
        return lambda sent, size: None
    loop = asyncio.get_running_loop()

    def report(sent: int, size: int) -> None:
        loop.call_soon_threadsafe(progress, sent, size)

    return report


def _lost(error: OSError, proxy: Proxy | None) -> str:
    """The message for an exchange that ended without an answer."""
    if proxy is None or not isinstance(error, URLError):
        return "The connection was lost before the server answered."
    why = error.reason.strerror if isinstance(error.reason, OSError) else None
    return proxy.failure(f"does not lead to the server: {why or error.reason}")


def _refusal(error: HTTPError) -> AgentwsError:
    try:
        return refusal(msgspec.json.decode(error.read(), type=Failure))
    except (msgspec.MsgspecError, OSError):
        if error.code == 404:
            return NotFound("This gateway takes no files.")
        return Disconnected(f"The server answered {error.code}.")


class NoFiles:
    """Of a chat that was made for a transport of its own, which has no HTTP."""

    async def upload(self, upload: Upload) -> FileView:
        raise ChatClosed("This chat has no address for uploads: use connect().")

    async def delete(self, id: str, *, session: str | None, token: str | None) -> None:
        raise ChatClosed("This chat has no address for files: use connect().")

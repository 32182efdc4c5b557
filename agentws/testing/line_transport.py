"""The Python client in process: a transport that calls an ASGI app directly."""

from __future__ import annotations

from typing import Any

from ..client.transport import Opening, OpenTransport, TransportClosed
from .connect import Client
from .line import Closed, Line, Refused

__all__ = ["open_transport"]


class _LineTransport:
    """A line as a transport of the Python client."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def send(self, text: str, /) -> None:
        try:
            self._line.send({"type": "websocket.receive", "text": text})
        except Closed as closed:
            raise TransportClosed(closed.code, closed.reason) from closed

    async def recv(self) -> str | bytes:
        try:
            return await self._line.receive()
        except Closed as closed:
            raise TransportClosed(closed.code, closed.reason) from closed

    async def close(self) -> None:
        self._line.leave(1000)
        await self._line.wait_closed()

    def drop(self) -> None:
        """Loses the connection (1006)."""
        self._line.waiting()
        self._line.leave(1006)


def open_transport(app: Any, url: str = "/ws/chat", **options: Any) -> OpenTransport:
    """A function with which ``agentws.client.Chat`` connects to ``app`` in process."""

    async def open(opening: Opening) -> _LineTransport:
        client = Client(app, url, subprotocols=opening.subprotocols, **options)
        client.query |= opening.query
        try:
            await client.open()
        except Refused as refused:
            raise TransportClosed(4000 + refused.status, retryable=False) from refused
        return _LineTransport(client.line)

    return open

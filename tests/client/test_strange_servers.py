"""Servers that are not a gateway, or a broken one: the client raises its own errors only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agentws.client import Chat, Disconnected, Opening, TransportClosed, connect
from agentws.client.websocket import _translating_opening
from agentws.errors import AgentwsError, Internal

from .fakes import FAST, FakeServer, FakeTransport
from .serving import give_up, request_head


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that sends this answer to every request, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await request_head(reader) is not None:
            writer.write(answer)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed the connection during the handshake. Does it expect https?"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP/1.1"),
        (b"HTTP/1.0 404 File not found\r\nContent-Length: 0\r\n\r\n", "does not speak HTTP/1.1"),
        (b"HTTP/1.1 421 Misdirected\r\nContent-Length: 0\r\n\r\n", "421 .* this host name"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "pass WebSockets on"),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 78\r\n\r\n"
            b'{"code":"forbidden","message":"No origin.","retryable":false,"expected":"one"}',
            "403 to the handshake. It says: No origin. Expected one.",
        ),
        (b'HTTP/1.1 403 Forbidden\r\nContent-Length: 14\r\n\r\n{"message": 5}', "path right"),
        (b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", "301 to the handshake.$"),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n", "to http://\\["),
    ],
)
async def test_a_server_that_is_not_a_gateway_raises_a_clear_error(
    answer: bytes, said: str
) -> None:
    async with answering(answer) as url:
        with pytest.raises(AgentwsError, match=said):
            await give_up(connect(url))


@pytest.mark.parametrize(
    "message",
    ["[" * 5000, "hello", b"\xff", '{"id":"nonsense","event":{"type":"history.cleared"}}'],
)
async def test_an_invalid_frame_ends_the_chat_with_a_clear_error(message: str | bytes) -> None:
    """Also after the welcome frame, when another task waits."""
    server = FakeServer()
    server.answering = False
    with pytest.raises(Internal, match="not a valid frame"):
        async with server.chat() as chat:
            turn = chat.send("hi")
            next(iter(server.connections)).inbox.put_nowait(message)
            await turn.text()


async def test_a_server_that_closes_every_connection_is_not_called_unreachable() -> None:
    async def close_at_once(opening: Opening) -> FakeTransport:
        transport = FakeTransport(FakeServer(), opening)
        transport.drop(1001)
        return transport

    with pytest.raises(Disconnected, match="ended the connection .1001."):
        await give_up(Chat(close_at_once, timing=FAST))


def test_the_operating_systems_message_is_shown_under_a_librarys_exception() -> None:
    """As python-socks does for an unknown host name of a proxy."""
    error = OSError(-2, "Couldn't connect to proxy nowhere.invalid:1080")
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    with pytest.raises(TransportClosed, match="reached: Name or service not known"):
        with _translating_opening("ws://agent.example/", None):
            raise error

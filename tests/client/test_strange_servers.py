"""Servers that are no gateway, or a broken one: a sentence, never another library's exception."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agentws.client import Chat, Disconnected, Opening, TransportClosed, connect
from agentws.client.websocket import _opening
from agentws.errors import AgentwsError, Internal

from .fakes import FAST, FakeServer, FakeTransport
from .serving import enter


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that gives every request that answer, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "hung up during the handshake. Does it want https?"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP/1.1"),
        (b"HTTP/1.0 404 File not found\r\nContent-Length: 0\r\n\r\n", "does not speak HTTP/1.1"),
        (b"HTTP/1.1 421 Misdirected\r\nContent-Length: 0\r\n\r\n", "421 .* this host name"),
        (b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", "301 to the handshake.$"),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n", "at http://\\["),
    ],
)
async def test_what_is_no_gateway_is_told_in_a_sentence(answer: bytes, said: str) -> None:
    async with answering(answer) as url:
        with pytest.raises(AgentwsError, match=said):
            await enter(connect(url, connect_timeout=2.0))


@pytest.mark.parametrize(
    "message",
    ["[" * 5000, "hello", b"\xff", '{"id":"nonsense","event":{"type":"history.cleared"}}'],
)
async def test_what_is_no_frame_ends_the_chat_with_a_sentence(message: str | bytes) -> None:
    """Also where it comes after the welcome, to a reader in a task of its own."""
    server = FakeServer()
    server.answering = False
    with pytest.raises(Internal, match="no frame"):
        async with server.chat() as chat:
            turn = chat.send("hi")
            next(iter(server.connections)).inbox.put_nowait(message)
            await turn.text()


async def test_a_server_that_hangs_up_on_everybody_is_not_called_unreachable() -> None:
    async def hang_up(opening: Opening) -> FakeTransport:
        transport = FakeTransport(FakeServer(), opening)
        transport.drop(1001)
        return transport

    with pytest.raises(Disconnected, match="ended the connection .1001."):
        await enter(Chat(hang_up, timing=FAST, connect_timeout=1.0))


def test_a_library_between_does_not_hide_what_the_system_says() -> None:
    """As python-socks reports that the name of a proxy is not known."""
    error = OSError(-2, "Couldn't connect to proxy nowhere.invalid:1080")
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    with pytest.raises(TransportClosed, match="reached: Name or service not known"):
        with _opening("ws://agent.example/", None):
            raise error

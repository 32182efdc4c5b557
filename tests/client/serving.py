"""Servers on real sockets, on the event loop of the test: an ASGI app, or a proxy."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch

import uvicorn

from agentws.client import Chat, ConnectionChange
from agentws.testing.loopback import listening as listening


def plain(app: Any) -> uvicorn.Config:
    """Stock uvicorn."""
    return uvicorn.Config(app, log_config=None, ws="websockets-sansio", timeout_graceful_shutdown=1)


async def enter(chat: Chat) -> None:
    """Enters a chat that must be refused."""
    async with chat:
        raise AssertionError("the chat was not refused")


async def request_head(reader: asyncio.StreamReader) -> str | None:
    """The head of a request; ``None`` if the client gave up before it had sent one."""
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def give_up(chat: Chat, *, attempts: int = 1) -> None:
    """Enters a chat that must be refused: its time is over as soon as ``attempts`` have failed."""
    updates = chat.watch()
    entering = asyncio.create_task(enter(chat))
    changes = 0
    async for update in updates:
        changes += isinstance(update, ConnectionChange)
        # The first one says that it connects; each failure is one more.
        if changes > attempts:
            break
    with _later(seconds=60.0):
        await entering


@contextmanager
def _later(*, seconds: float) -> Iterator[None]:
    """The clock of the loop goes ahead: what waits for a time that has passed is woken."""
    loop = asyncio.get_running_loop()
    now = loop.time
    with patch.object(loop, "time", lambda: now() + seconds):
        yield


class Proxy:
    """An HTTP proxy that connects every request to ``target``, or answers it with ``answer``."""

    def __init__(self, target: str, answer: bytes = b"") -> None:
        self._target = target
        self._answer = answer
        self.request_lines: list[str] = []
        self.heads: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await request_head(reader)
        if head is None:
            writer.close()
            return
        self.heads.append(head)
        self.request_lines.append(head.splitlines()[0])
        if self._answer:
            writer.write(self._answer)
            writer.close()
            return
        host, _, port = self._target.rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(reader, back))
            group.create_task(_pump(there, writer))


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except ConnectionError:
        pass
    finally:
        target.close()


@asynccontextmanager
async def proxying(proxy: Proxy) -> AsyncIterator[str]:
    """Host and port of ``proxy``."""
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextmanager
def unused_address() -> Iterator[str]:
    """Host and port where nothing listens; nobody else gets the port meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"

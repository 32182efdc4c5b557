"""Runs ``speaking.py``; raw clients that misbehave; measures how long other clients wait."""

from __future__ import annotations

import base64
import os
import socket
import statistics
import time
from pathlib import Path

import msgspec

from agentws.client import Chat, connect
from tests.processes import Server

HERE = Path(__file__).parent


class Speaking(Server):
    """``speaking.py`` with the server preset, or under stock uvicorn."""

    def __init__(self, folder: Path, kind: str) -> None:
        log, output_file = str(folder / "log.sqlite3"), folder / "output.txt"
        super().__init__("speaking.py", "{port}", log, kind, folder=HERE, output_file=output_file)

    @property
    def chat(self) -> str:
        return f"ws://{self.host}/ws/chat"

    def resident(self) -> int:
        """The resident memory of the process, in bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


class Peer:
    """A native client over a raw socket, which reads only when the test calls it.

    With a ``path`` other than a WebSocket's it sends a plain HTTP request.
    """

    def __init__(
        self, server: Server, query: str = "", *, path: str | None = None, buffer: int = 65536
    ) -> None:
        path = path or f"/ws/chat?{query}"
        upgrade = path.startswith("/ws/")
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(30.0)
        self.socket.connect(("127.0.0.1", server.port))
        key = base64.b64encode(os.urandom(16)).decode()
        asked = f"GET {path} HTTP/1.1\r\nHost: {server.host}\r\n"
        if upgrade:
            asked += (
                f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: agentws.v1\r\n"
            )
        self.socket.sendall(f"{asked}\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        assert head.startswith(b"HTTP/1.1 101" if upgrade else b"HTTP/1.1 200"), head

    def send(self, **frame: str) -> None:
        payload = msgspec.json.encode(frame)
        self.socket.sendall(bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload)

    def read_until(self, end: bytes) -> bytes:
        """The bytes received up to and including ``end``, with the WebSocket framing."""
        read = bytearray()
        while end not in read[-65536 - len(end) :]:
            piece = self.socket.recv(65536)
            assert piece, "the server closed the connection"
            read += piece
        return bytes(read)

    def close(self) -> None:
        self.socket.close()


async def turns(url: str, count: int) -> list[float]:
    """The durations in seconds of ``count`` turns of a new client."""
    async with connect(url) as chat:
        return [await turn(chat) for _ in range(count)]


async def turn(chat: Chat) -> float:
    begun = time.monotonic()
    assert await chat.ask("hello") == "0123456789"
    return time.monotonic() - begun


def check_speed(quiet: list[float], busy: list[float]) -> None:
    """Checks that turns under load are not much slower than those without it."""
    usual = max(statistics.median(quiet), 0.005)
    assert statistics.median(busy) < 20 * usual, (usual, busy)
    assert max(busy) < 200 * usual, (usual, busy)

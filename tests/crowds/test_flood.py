"""A client that never reads while its agent says a million things costs nobody anything."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from agentws.client import connect

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@asynccontextmanager
async def server(folder: Path, kind: str) -> AsyncIterator[tuple[int, int]]:
    """A server process; gives its port and its process id."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    arguments = [str(port), str(folder / "log.sqlite3"), kind]
    with (folder / "said.txt").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, str(HERE / "flooding.py"), *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=said,
        )
    try:
        await _listening(port, process)
        yield port, process.pid
    finally:
        process.kill()
        await process.wait()


async def _listening(port: int, process: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + 30
    while process.returncode is None and time.monotonic() < deadline:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return
    raise AssertionError("the server did not start")


def never_reads(port: int) -> socket.socket:
    """A WebSocket client that asks for the flood, and then reads nothing."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    peer.sendall(
        (
            f"GET /ws/chat?session={SESSION} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: agentws.v1\r\n\r\n"
        ).encode()
    )
    assert peer.recv(4096).startswith(b"HTTP/1.1 101")
    frame = msgspec.json.encode({"type": "send", "id": "m1", "content": "flood"})
    peer.sendall(bytes([0x81, 0x80 | len(frame), 0, 0, 0, 0]) + frame)
    return peer


SESSION = "a-session-that-is-flooded"


def resident(pid: int) -> int:
    """Bytes of memory that the process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def turns(url: str, count: int) -> list[float]:
    """How long each of some turns of another client takes, in seconds."""
    took = []
    async with connect(url) as chat:
        for number in range(count):
            begun = time.monotonic()
            await chat.ask(f"hello {number}")
            took.append(time.monotonic() - begun)
    return took


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["preset", "stock"])
async def test_memory_stays_flat_and_others_keep_their_speed(tmp_path: Path, kind: str) -> None:
    async with server(tmp_path, kind) as (port, pid):
        url = f"ws://127.0.0.1:{port}/ws/chat"
        quiet = await turns(url, 20)
        before = resident(pid)
        peer = never_reads(port)
        highest = before
        flooded: list[float] = []
        async with connect(url, session=SESSION) as watching:
            while not any(len(str(m.content)) >= 10_000_000 for m in watching.messages):
                flooded += await turns(url, 1)
                highest = max(highest, resident(pid))
        peer.close()
    # The log is on disk; what is in memory is a tail, a page or two, and the peer's buffers.
    assert highest - before < 64 * 1024 * 1024, (before, highest)
    # Half of a core is the flood's, and a turn waits for a piece of it; no turn waits for all.
    usual = max(statistics.median(quiet), 0.005)
    assert statistics.median(flooded) < 20 * usual, (usual, flooded)
    assert max(flooded) < 200 * usual, (usual, flooded)

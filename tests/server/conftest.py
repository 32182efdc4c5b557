"""uvicorn in a thread, on both event loops and both HTTP parsers, with a test application."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import pytest
import uvicorn

from agentws import Limits
from agentws.server import ServerLimits, server_config
from agentws.server.strict_h11 import PresetH11Protocol

from .serving import UNLIMITED, Running

Message = MutableMapping[str, Any]


class Application:
    """An ASGI application: the path selects what it does; `seen` is what it received."""

    def __init__(self) -> None:
        self.seen: queue.Queue[Message] = queue.Queue()
        self.sent = 0
        self.paths: list[str] = []
        self.go = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        self.paths.append(scope["path"])
        if scope["type"] == "http":
            await getattr(self, scope["path"].strip("/"))(scope, receive, send)
            return
        assert (await receive())["type"] == "websocket.connect"
        await getattr(self, scope["path"].strip("/"))(scope, receive, send)

    async def _lifespan(self, receive: Any, send: Any) -> None:
        for _ in range(2):
            message = await receive()
            await send({"type": message["type"] + ".complete"})

    async def http(self, scope: Message, receive: Any, send: Any) -> None:
        """Echoes the body of a request."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})

    async def early(self, scope: Message, receive: Any, send: Any) -> None:
        """Answers without reading the body."""
        length = (b"content-length", b"5")
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": b"early"})

    async def hang(self, scope: Message, receive: Any, send: Any) -> None:
        """Answers nothing until the peer is gone."""
        scope["extensions"]["agentws.server"]["unbounded"] = True
        self.seen.put({"type": "hanging"})
        while (await receive())["type"] != "http.disconnect":
            pass
        self.seen.put({"type": "hung up"})

    async def stream(self, scope: Message, receive: Any, send: Any) -> None:
        """Sends until the peer is gone, as an event stream does."""
        scope["extensions"]["agentws.server"]["unbounded"] = True
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone = asyncio.ensure_future(self.hang(scope, receive, send))
        while not gone.done():
            self.sent += 4096
            await send({"type": "http.response.body", "body": bytes(4096), "more_body": True})
            await asyncio.sleep(0)
        await gone
        self.seen.put({"type": "gone"})

    async def echo(self, scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send(message | {"type": "websocket.send"})
        self.seen.put(message)

    async def scope(self, scope: Message, receive: Any, send: Any) -> None:
        chosen = scope["subprotocols"][-1] if scope["subprotocols"] else None
        accept = {"subprotocol": chosen, "headers": [(b"X-Extra", b"yes")]}
        await send({"type": "websocket.accept", **accept})
        self.seen.put(scope)
        await receive()

    async def deny(self, scope: Message, receive: Any, send: Any) -> None:
        head = {"status": 429, "headers": [(b"retry-after", b"3")]}
        await send({"type": "websocket.http.response.start", **head})
        await send({"type": "websocket.http.response.body", "body": b"too ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"many"})
        self.seen.put(await receive())

    async def refuse(self, scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})

    async def crash(self, scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        raise RuntimeError("as ordered")

    async def crash_early(self, scope: Message, receive: Any, send: Any) -> None:
        raise RuntimeError("as ordered")

    async def undecided(self, scope: Message, receive: Any, send: Any) -> None:
        self.seen.put({"type": "undecided"})
        self.seen.put(await receive())

    async def late(self, scope: Message, receive: Any, send: Any) -> None:
        """Accepts when `go` is set."""
        self.seen.put({"type": "late"})
        await asyncio.get_running_loop().run_in_executor(None, self.go.wait)
        await send({"type": "websocket.accept"})
        self.seen.put({"type": "accepted"})
        while (await receive())["type"] == "websocket.receive":
            pass

    async def sink(self, scope: Message, receive: Any, send: Any) -> None:
        """Receives everything and answers nothing."""
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            pass

    async def close(self, scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4401, "reason": "who?"})
        self.seen.put(await receive())

    async def framed(self, scope: Message, receive: Any, send: Any) -> None:
        """Writes its own frames, bypassing send()."""
        await send({"type": "websocket.accept"})
        extension = scope["extensions"]["agentws.write"]
        assert extension["frame"](b"a") == b"\x81\x01a"
        assert extension["write"](b"\x81\x01a") is True
        assert extension["write"](b"\x81\x01b\x81\x01c") is True
        await extension["drain"]()
        self.seen.put(await receive())
        assert extension["write"](b"\x81\x01d") is False
        try:
            await extension["drain"]()
        except OSError:
            self.seen.put({"type": "drain refused"})

    async def flood(self, scope: Message, receive: Any, send: Any) -> None:
        """Sends until the peer is gone, and counts; waits in drain() while the buffer is full."""
        await send({"type": "websocket.accept"})
        extension = scope["extensions"]["agentws.write"]
        frame = b"\x82\x7e\x10\x00" + bytes(4096)
        try:
            while True:
                self.sent += len(frame)
                if not extension["write"](frame):
                    await extension["drain"]()
        except OSError:
            self.seen.put({"type": "gone"})

    async def slow(self, scope: Message, receive: Any, send: Any) -> None:
        """Receives nothing until `go` is set, then everything; reports how many messages."""
        await send({"type": "websocket.accept"})
        await asyncio.get_running_loop().run_in_executor(None, self.go.wait)
        while (await receive())["type"] == "websocket.receive":
            self.sent += 1
        self.seen.put({"type": "count", "count": self.sent})


class Server:
    """A running uvicorn."""

    def __init__(self, loop: str, options: dict[str, Any]) -> None:
        self.app = Application()
        config = server_config(self.app, port=0, loop=loop, log_config=None, **options)
        self.uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.uvicorn.run, daemon=True)
        self._started = threading.Event()
        self._report_start()
        self._thread.start()
        assert self._started.wait(10)
        self.port: int = self.uvicorn.servers[0].sockets[0].getsockname()[1]

    def _report_start(self) -> None:
        startup = self.uvicorn.startup

        async def reporting(sockets: list[socket.socket] | None = None) -> None:
            await startup(sockets=sockets)
            self._started.set()

        self.uvicorn.startup = reporting  # type: ignore[method-assign]

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}/{path}"

    def stop(self) -> None:
        self.uvicorn.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def seen(self) -> Message:
        return self.app.seen.get(timeout=10)

    def connections(self) -> list[Any]:
        return list(self.uvicorn.server_state.connections)

    def waiting(self) -> socket.socket:
        """A connection whose upgrade request the application has received and not answered."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        client.sendall(upgrade_request("undecided"))
        assert self.seen()["type"] == "undecided"
        return client

    def waiting_quietly(self) -> socket.socket:
        """A connection whose upgrade request will never be answered."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        client.sendall(upgrade_request("undecided"))
        return client

    def waiting_to_accept(self) -> socket.socket:
        """A connection that the application accepts when `go` is set."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        client.sendall(upgrade_request("late"))
        assert self.seen()["type"] == "late"
        return client

    def raw(self, path: str) -> RawClient:
        """An upgraded connection whose frames the test writes byte by byte."""
        return RawClient(self.port, path)


def upgrade_request(path: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /{path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


class RawClient:
    def __init__(self, port: int, path: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.sendall(upgrade_request(path))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        self.head = head

    def send(self, opcode: int, payload: bytes, *, fin: bool = True) -> None:
        assert len(payload) < 126
        head = bytes([(0x80 if fin else 0) | opcode, 0x80 | len(payload)])
        self.socket.sendall(head + bytes(4) + payload)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (chunk := self.socket.recv(size - len(data))):
            data += chunk
        return data

    def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte and payload. `(0, b"")` at the end of the stream."""
        head = self.read(2)
        if len(head) < 2:
            return 0, b""
        size = head[1]
        if size > 125:
            size = int.from_bytes(self.read(2 if size == 126 else 8), "big")
        return head[0], self.read(size)

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close with a reset, as a killed process with unread data does."""
        linger = (1).to_bytes(4, "little") + bytes(4)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()


@pytest.fixture(autouse=True)
def logs_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets caplog capture the log of uvicorn, also after a test that has configured logging."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)


@pytest.fixture(params=["uvloop", "asyncio"])
def loop_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(loop_name: str) -> Iterator[Callable[..., Server]]:
    """Starts servers with uvicorn options, and stops them."""
    servers: list[Server] = []

    def starting(**options: Any) -> Server:
        servers.append(Server(loop_name, options))
        return servers[-1]

    yield starting
    for server in servers:
        server.app.go.set()
        server.stop()


@pytest.fixture(params=["httptools", "h11"])
def server(request: pytest.FixtureRequest, start: Callable[..., Server]) -> Server:
    """A server with the preset's settings, with each HTTP parser: they hand over differently."""
    return start() if request.param == "httptools" else start(http=PresetH11Protocol)


@pytest.fixture(scope="module", params=["httptools", "h11"])
def parsing(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with the preset's settings and one HTTP parser, for all tests of a module."""
    options: dict[str, Any] = {"server_limits": ServerLimits(close_timeout=0.5)}
    if request.param == "h11":
        options["http"] = PresetH11Protocol
    server = Server("asyncio", options)
    yield server
    server.stop()


@pytest.fixture
def unlimited() -> Iterator[Running]:
    running = Running(UNLIMITED)
    yield running
    running.stop()


@pytest.fixture
def usual() -> Iterator[Running]:
    running = Running(Limits())
    yield running
    running.stop()


@pytest.fixture
def plain(start: Callable[..., Server]) -> Server:
    """A server with the preset's settings, where the HTTP parser makes no difference."""
    return start()

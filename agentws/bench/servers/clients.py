"""WebSocket clients, the load of a measurement. They use little CPU: the server is measured."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from .variants import DELTA, SUBPROTOCOL, Variant

_TEXT, _CLOSE, _PING = 0x1, 0x8, 0x9
# A mask of zeros is valid, and costs the client no masking.
_NO_MASK = bytes(4)


def text_frame(payload: bytes) -> bytes:
    """A text message, at most 125 bytes long, as one frame."""
    assert len(payload) <= 125
    return bytes((0x80 | _TEXT, 0x80 | len(payload))) + _NO_MASK + payload


class Client(asyncio.Protocol, ABC):
    """One connection. A subclass knows when an answer is complete."""

    path = "/ws"

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._rest = b""
        self._upgraded = False
        self._opened: asyncio.Future[None] = loop.create_future()
        self._answered: asyncio.Future[None] = loop.create_future()
        self._lost: asyncio.Future[None] = loop.create_future()

    async def open(self, port: int, query: str = "") -> None:
        """Connect, and wait until the connection can be used."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, "127.0.0.1", port)
        lines = [
            f"GET {self.path}{query} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Version: 13",
            # Of both applications: the server keeps the headers with the connection.
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
        ]
        self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await self._opened

    async def drop(self) -> None:
        """Abort the connection, without a close frame."""
        self._transport.abort()
        await self._lost

    async def answer(self) -> None:
        """Wait for the end of the expected answer."""
        await self._answered

    def send(self, payload: bytes) -> None:
        self.write(text_frame(payload))

    def write(self, frame: bytes) -> None:
        """Send a frame that was encoded before."""
        self._transport.write(frame)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self._opened, self._answered):
            if not future.done():
                future.set_exception(ConnectionError("the server closed the connection"))
                future.exception()
        self._lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at = 0 if self._upgraded else self._upgrade(data)
        size = len(data)
        while at >= 0 and size - at >= 2:
            length, start = data[at + 1], at + 2
            if length > 125:
                start += 2 if length == 126 else 8
                length = int.from_bytes(data[at + 2 : start], "big")
            if size < start + length:
                break
            self._frame(data[at] & 0x0F, data[start : start + length])
            at = start + length
        self._rest = data[max(at, 0) :]

    def _upgrade(self, data: bytes) -> int:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return -1
        if not data.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(data[:200].decode("latin-1"))
        self._upgraded = True
        self.upgraded()
        return end + 4

    def _frame(self, opcode: int, payload: bytes) -> None:
        if opcode == _TEXT:
            self.message(payload)
        elif opcode == _PING:
            self._transport.write(bytes((0x8A, 0x80 | len(payload))) + _NO_MASK + payload)
        elif opcode == _CLOSE:
            self._transport.close()

    def _finish(self, future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)

    def upgraded(self) -> None:
        """The handshake is done."""

    @abstractmethod
    def message(self, payload: bytes) -> None:
        """A text message was received."""

    @abstractmethod
    def expect(self, deltas: int) -> None:
        """Prepare for an answer of `deltas` deltas."""

    @abstractmethod
    def ask(self, work: str, deltas: int) -> None:
        """Ask the server for `work`, whose answer has so many deltas."""


class RawClient(Client):
    """Counts messages: the raw endpoint sends one for each delta."""

    def __init__(self) -> None:
        super().__init__()
        self._missing = 0

    def upgraded(self) -> None:
        self._finish(self._opened)

    def expect(self, deltas: int) -> None:
        self._missing = deltas
        self._answered = asyncio.get_running_loop().create_future()

    def ask(self, work: str, deltas: int) -> None:
        self.expect(deltas)
        self.send(work.encode())

    def message(self, payload: bytes) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._finish(self._answered)


class GatewayClient(Client):
    """Speaks `agentws.v1`: an answer ends with its run, and must be complete."""

    path = "/ws/chat"

    def __init__(self) -> None:
        super().__init__()
        self.session = ""
        self.position = ""
        self.resume = ""
        self._sent = 0
        self._missing = 0
        self._decode = msgspec.json.Decoder().decode

    def expect(self, deltas: int) -> None:
        self._missing = deltas * len(DELTA)
        self._answered = asyncio.get_running_loop().create_future()

    def ask(self, work: str, deltas: int) -> None:
        self.expect(deltas)
        self._sent += 1
        self.send(b'{"type":"send","id":"m%d","content":"%b"}' % (self._sent, work.encode()))

    def message(self, payload: bytes) -> None:
        frames: Any = self._decode(payload)
        for frame in frames if isinstance(frames, list) else (frames,):
            if "event" in frame:
                self._event(frame["event"])
            elif frame["type"] == "welcome":
                self.session, self.resume = frame["session"], frame["resume"]
                self._finish(self._opened)
            elif frame["type"] == "accepted":
                self.accepted(frame)
            elif frame["type"] == "notice":
                self._missing -= len(DELTA)
                if self._missing == 0:
                    self._finish(self._answered)
            elif frame["type"] in ("error", "bye"):
                raise RuntimeError(payload.decode())

    def accepted(self, frame: dict[str, Any]) -> None:
        """The server has acknowledged a frame."""
        self.position = frame["position"]

    def _event(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "TEXT_MESSAGE_CONTENT":
            self._missing -= len(event["delta"])
        elif kind == "RUN_FINISHED":
            if self._missing:
                raise RuntimeError(f"{self._missing} characters of the answer are missing")
            self._finish(self._answered)
        elif kind == "RUN_ERROR":
            raise RuntimeError(str(event))


def client(variant: Variant) -> Client:
    """A client for this server, not yet connected."""
    return GatewayClient() if variant.app == "gateway" else RawClient()


async def connect(variant: Variant, port: int, count: int, *, at_once: int = 200) -> list[Client]:
    """Open `count` connections, `at_once` handshakes at a time."""
    clients = [client(variant) for _ in range(count)]
    for start in range(0, count, at_once):
        await asyncio.gather(*(each.open(port) for each in clients[start : start + at_once]))
    return clients


async def drop(clients: Sequence[Client]) -> None:
    """Abort all these connections."""
    await asyncio.gather(*(each.drop() for each in clients))

"""What hostile peers do to a server, by raw sockets. Only to 127.0.0.1, and for a bounded time.

`agentws.bench.attacks.cost` measures what they cost the server.
"""

from __future__ import annotations

import base64
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

MASK: Final = bytes(4)
PIECE: Final = 64 * 1024
HEAD: Final = "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
UPGRADE: Final = HEAD + (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: agentws.v1\r\nSec-WebSocket-Key: {key}\r\n\r\n"
)


class Attack(NamedTuple):
    """What one peer does until it is cut off; many do it at once."""

    title: str
    peer: Callable[[Peer], None]


class Peer:
    """One raw socket of an attack. Each method returns when the time is over, or raises OSError."""

    def __init__(self, port: int, end: float, *, buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(0.2)
        self._end = end
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def send(self, data: bytes) -> None:
        """All of it, however slowly the server reads."""
        rest = memoryview(data)
        while rest and not self.is_over:
            try:
                rest = rest[self.socket.send(rest) :]
            except TimeoutError:
                continue

    def flood(self, piece: bytes) -> None:
        while not self.is_over:
            self.send(piece)

    def drip(self, piece: bytes) -> None:
        while not self.is_over:
            self.send(piece)
            time.sleep(1.0)

    def wait(self) -> None:
        """Sends nothing, until the server ends the connection."""
        while not self.is_over:
            try:
                if not self.socket.recv(PIECE):
                    return
            except TimeoutError:
                continue

    def hold(self) -> None:
        """Neither sends nor reads, until the server has reset the connection."""
        while not self.is_over and not self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            time.sleep(0.1)

    def upgrade(self, path: str = "/ws/chat", *, more: bytes = b"") -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self.send(UPGRADE.format(path=path, key=key).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n") and not self.is_over:
            try:
                head += self.socket.recv(1)
            except TimeoutError:
                continue
        self.send(more)


def frame(opcode: int, payload: bytes) -> bytes:
    """A masked frame with a payload of less than 64 KiB; the mask is zero."""
    if len(payload) < 126:
        return bytes((opcode, 0x80 | len(payload))) + MASK + payload
    return bytes((opcode, 0xFE)) + len(payload).to_bytes(2, "big") + MASK + payload


PING: Final = frame(0x89, bytes(125))
PONG: Final = frame(0x8A, b"")
MESSAGE: Final = frame(0x81, b"x")
FRAGMENT: Final = frame(0x00, b"x")
SEND: Final = frame(0x81, b'{"type":"send","id":"m1","content":"flood"}')
SHARED: Final = "/ws/chat?session=a-session-of-many-attackers"


def _head(line: bytes, more: bytes) -> Callable[[Peer], None]:
    def run(peer: Peer) -> None:
        peer.send(line)
        peer.flood(more)

    return run


def _frames(first: bytes, flood: bytes) -> Callable[[Peer], None]:
    def run(peer: Peer) -> None:
        peer.upgrade()
        peer.send(first)
        peer.flood(flood)

    return run


def _silent(peer: Peer) -> None:
    peer.wait()


def _slow_head(peer: Peer) -> None:
    peer.send(HEAD.format(path="/health").encode() + b"X-A: ")
    peer.drip(b"a")


def _not_accepted(peer: Peer) -> None:
    peer.upgrade("/never")
    peer.wait()


def _unread_socket(peer: Peer) -> None:
    # All share one session: the memory of its log is none of theirs.
    peer.upgrade(SHARED)
    peer.send(SEND)
    peer.hold()


def _unread_stream(peer: Peer) -> None:
    peer.send(HEAD.format(path="/stream").encode() + b"\r\n")
    peer.hold()


def _late_body(peer: Peer) -> None:
    head = HEAD.format(path="/health").replace("GET", "POST")
    peer.send(head.encode() + b"Content-Length: 1000000000000\r\n\r\n")
    peer.flood(bytes(PIECE))


def _tiny_chunks(peer: Peer) -> None:
    head = HEAD.format(path="/ask").replace("GET", "POST")
    peer.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
    peer.flood(b"1\r\n \r\n" * 10_000)


def _pipelined(peer: Peer) -> None:
    request = HEAD.format(path="/health").encode() + b"\r\n"
    peer.flood(request * (PIECE // len(request)))


_START: Final = HEAD.format(path="/health").encode()
ATTACKS: Final[dict[str, Attack]] = {
    "silent": Attack("connects, sends nothing", _silent),
    "slow-head": Attack("headers at one byte a second", _slow_head),
    "line": Attack("an endless request line", _head(b"GET /", b"a" * PIECE)),
    "header": Attack("an endless header", _head(_START + b"X-A: ", b"a" * PIECE)),
    "headers": Attack("endless headers", _head(_START, b"X-A: a\r\n" * 8192)),
    "pipelined": Attack("requests without end", _pipelined),
    "late-body": Attack("a body after the answer", _late_body),
    "chunks": Attack("a body in chunks of one byte", _tiny_chunks),
    "not-accepted": Attack("upgrades never answered", _not_accepted),
    "refused": Attack(
        "refused (4413), sends on", _frames(frame(0x81, b"x" * 65_500) * 2, bytes(PIECE))
    ),
    "violation": Attack("refused (1002), sends on", _frames(frame(0x83, b""), bytes(PIECE))),
    "pings": Attack("pings, reads nothing", _frames(b"", PING * 500)),
    "pongs": Attack("pongs", _frames(b"", PONG * 10_000)),
    "fragments": Attack("fragments of one byte", _frames(frame(0x01, b"x"), FRAGMENT * 9000)),
    "messages": Attack("tiny messages", _frames(b"", MESSAGE * 9000)),
    "large": Attack("large messages", _frames(b"", frame(0x81, b"[" * 65_000))),
    "unread-socket": Attack("WebSocket, reads nothing", _unread_socket),
    "unread-stream": Attack("HTTP stream, reads nothing", _unread_stream),
}


def attack(
    name: str, port: int, seconds: float, peers: int, *, ended: Callable[[float], None]
) -> None:
    """Run an attack by this many peers; each begins again when it was cut off.

    Calls `ended` with the seconds that the first connection of a peer has lasted.
    """
    end = time.monotonic() + seconds

    def one() -> None:
        first = True
        while time.monotonic() < end:
            begun = time.monotonic()
            try:
                peer = Peer(port, end, buffer=4096 if name.startswith("unread") else None)
                with peer.socket:
                    ATTACKS[name].peer(peer)
            except OSError:
                # Cut off, as it should be. A pause, so that it is no flood of connections.
                time.sleep(0.2)
            if first and time.monotonic() < end:
                ended(time.monotonic() - begun)
            first = False

    threads = [threading.Thread(target=one, daemon=True) for _ in range(peers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 5)

"""Connections that do not get on are ended in time: silent, slow, never answered, never read."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agentws.server import ServerLimits
from agentws.server.deadlines import SLICE, Deadlines
from agentws.server.strict_h11 import PresetH11Protocol
from tests.processes import wait_until

from .conftest import Server

SHORT = ServerLimits(open_timeout=0.4, close_timeout=0.4, write_timeout=0.4)
LONGER = ServerLimits(open_timeout=2.0, close_timeout=2.0, write_timeout=2.0)


@contextmanager
def serving(parser: str, limits: ServerLimits) -> Iterator[Server]:
    """Each HTTP parser, and each event loop."""
    options: dict[str, Any] = {"server_limits": limits}
    if parser == "h11":
        options["http"] = PresetH11Protocol
    server = Server("asyncio" if parser == "h11" else "uvloop", options)
    yield server
    server.stop()


@pytest.fixture(params=["httptools", "h11"], scope="module")
def hurried(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A server with short deadlines."""
    with serving(request.param, SHORT) as server:
        yield server


@pytest.fixture(params=["httptools", "h11"])
def unhurried(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A server whose deadlines leave a test the time for a step."""
    with serving(request.param, LONGER) as server:
        yield server


def connected(server: Any, data: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    client.sendall(data)
    return client


def response(client: socket.socket) -> bytes:
    """One response of the path /early."""
    read = b""
    while not read.endswith(b"early"):
        piece = client.recv(65536)
        assert piece, read
        read += piece
    return read


def wait_for_end(client: socket.socket) -> None:
    """Reads until the server ends the connection."""
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        pass


def test_a_silent_connection_is_closed(hurried: Any) -> None:
    begun = time.monotonic()
    with connected(hurried) as client:
        wait_for_end(client)
    assert 0.3 < time.monotonic() - begun < 5


@pytest.mark.parametrize("piece", [b"a", b"\r\n"])
def test_a_head_that_comes_byte_by_byte_is_closed(hurried: Any, piece: bytes) -> None:
    with connected(hurried, b"" if piece == b"\r\n" else b"GET / HTTP/1.1\r\nX-A: ") as client:
        begun = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - begun < 5:
                client.sendall(piece)
                time.sleep(0.02)


def test_a_second_head_has_the_same_time(hurried: Any) -> None:
    begun = time.monotonic()
    with connected(hurried, b"GET /early HTTP/1.1\r\nHost: x\r\n\r\nGET /ear") as client:
        wait_for_end(client)
    assert 0.3 < time.monotonic() - begun < 3


def test_a_connection_between_two_requests_may_wait_longer(hurried: Any) -> None:
    request = b"GET /early HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(hurried, request) as client:
        assert response(client).startswith(b"HTTP/1.1 200")
        client.settimeout(1.0)
        # Twice the deadline of a head, and less than uvicorn's keep-alive.
        with pytest.raises(TimeoutError):
            while client.recv(65536):
                pass
        client.settimeout(10)
        client.sendall(request)
        assert response(client).startswith(b"HTTP/1.1 200")


def test_an_upgrade_that_the_application_never_answers_is_refused(start: Any) -> None:
    server = start(server_limits=SHORT)
    with server.waiting() as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
        begun = time.monotonic()
        wait_for_end(client)
        assert time.monotonic() - begun < 5
    assert server.seen() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


def test_an_open_websocket_has_no_deadline(start: Any) -> None:
    client = start(server_limits=SHORT).raw("echo")
    client.socket.settimeout(1.0)
    with pytest.raises(TimeoutError):
        client.frame()
    client.socket.settimeout(10)
    client.send(1, b"still here")
    assert client.frame()[1] == b"still here"
    client.close()


def test_a_body_that_comes_after_its_response_is_not_awaited_for_ever(hurried: Any) -> None:
    request = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    with connected(hurried, request) as client:
        begun = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - begun < 5:
                client.sendall(b"a")
                time.sleep(0.02)


def test_a_body_that_comes_soon_after_its_response_keeps_the_connection(unhurried: Any) -> None:
    request = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
    with connected(unhurried, request) as client:
        assert response(client).startswith(b"HTTP/1.1 200")
        client.sendall(b"ab")
        # Longer than the deadline that the body has ended.
        time.sleep(2.2)
        client.sendall(request)
        assert response(client).startswith(b"HTTP/1.1 200")


def test_a_peer_that_does_not_read_a_stream_is_dropped(hurried: Any) -> None:
    hurried.app.sent = 0
    with connected(hurried, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"):
        assert hurried.seen()["type"] == "hanging"
        assert [hurried.seen()["type"] for _ in range(2)] == ["hung up", "gone"]
    # The rest is in the buffers of both ends.
    assert hurried.app.sent < 8_000_000


def test_a_peer_that_reads_a_stream_slowly_is_kept(unhurried: Any) -> None:
    with connected(unhurried, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n") as client:
        begun = time.monotonic()
        # A peer that takes nothing is dropped after twice the deadline at the latest.
        while time.monotonic() - begun < 4.5:
            assert client.recv(200_000)
            time.sleep(0.05)


@pytest.mark.parametrize("end", ["violation", "close"])
def test_a_peer_that_sends_on_while_it_is_closed_is_dropped_in_time(start: Any, end: str) -> None:
    limits = ServerLimits(close_timeout=0.5, read_burst=100_000, read_rate=100_000)
    client = start(server_limits=limits).raw("echo" if end == "violation" else "close")
    if end == "violation":
        client.send(3, b"")
    begun, sent = time.monotonic(), 0
    with pytest.raises(ConnectionError):
        while time.monotonic() - begun < 5:
            sent += client.socket.send(bytes(65536))
    # Its own buffers, and ours, hold most of that.
    assert sent < 16_000_000
    client.close()


def test_a_shutdown_waits_for_no_peer(start: Any) -> None:
    limits = ServerLimits(close_timeout=0.2)
    server = start(server_limits=limits, timeout_graceful_shutdown=None)
    peers = [
        connected(server),
        connected(server, b"GET /"),
        connected(server, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"),
        connected(server, b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"),
        connected(server, b"no request\r\n\r\n"),
        server.waiting_quietly(),
    ]
    flooding = server.raw("flood")
    wait_until(lambda: server.app.sent > 200_000)
    server.stop()
    for peer in peers:
        peer.close()
    flooding.close()


class FakeLoop:
    """Time passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> None:
        self.calls.append((self.now + delay, call))

    def call_soon(self, call: Callable[[], None]) -> None:
        self.call_later(0.0, call)

    def pass_time(self, until: float) -> None:
        while self.calls and min(when for when, _ in self.calls) <= until:
            first = min(self.calls, key=lambda one: one[0])
            self.calls.remove(first)
            self.now = max(self.now, first[0])
            first[1]()
        self.now = until


def deadlines(loop: FakeLoop) -> tuple[Deadlines[int], list[tuple[int, float]]]:
    passed: list[tuple[int, float]] = []
    as_loop: Any = loop
    one = Deadlines[int](as_loop, 10.0, lambda number: passed.append((number, loop.now)))
    return one, passed


def test_each_deadline_passes_in_its_time_with_one_timer() -> None:
    loop = FakeLoop()
    sweep, passed = deadlines(loop)
    for number in range(100):
        sweep.start(number)
        assert len(loop.calls) == 1
        loop.pass_time(number + 1.0)
    loop.pass_time(200.0)
    assert [number for number, _ in passed] == list(range(100))
    assert all(number + 10 <= at <= number + 10.1 for number, at in passed)
    assert not loop.calls and not len(sweep)


def test_a_stopped_deadline_does_not_pass_and_a_second_start_does_not_extend_it() -> None:
    loop = FakeLoop()
    sweep, passed = deadlines(loop)
    sweep.start(1)
    sweep.start(2)
    loop.pass_time(5.0)
    sweep.stop(1)
    sweep.stop(3)
    sweep.start(2)
    loop.pass_time(100.0)
    assert passed == [(2, 10.0)] and not loop.calls
    sweep.start(1)
    loop.pass_time(200.0)
    assert passed[1:] == [(1, 110.0)]


def test_many_deadlines_at_once_leave_the_loop_its_turns() -> None:
    loop = FakeLoop()
    sweep, passed = deadlines(loop)
    for number in range(3 * SLICE):
        sweep.start(number)
    first = min(loop.calls, key=lambda one: one[0])
    loop.calls.remove(first)
    loop.now = first[0]
    first[1]()
    assert len(passed) == SLICE and len(loop.calls) == 1
    loop.pass_time(11.0)
    assert len(passed) == 3 * SLICE

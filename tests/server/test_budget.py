"""How much is read from one peer, by the second: frames and bytes, whatever the frames are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentws.server import ServerLimits
from agentws.server.budget import TICK, ReadBudget
from agentws.server.websocket import AgentwsWebSocketProtocol
from tests.processes import wait_until

from .test_deadlines import FakeLoop

RATE, BURST = 1000.0, 500.0


class Peer:
    """Spends all that it is allowed to, in pieces of one size."""

    def __init__(self, budget: ReadBudget, piece: float) -> None:
        self.budget = budget
        self.piece = piece
        self.spent = 0.0

    def read_on(self) -> None:
        while self.budget.spend(cast(Any, self), self.piece):
            self.spent += self.piece
        self.spent += self.piece


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.5, 400), min_size=1, max_size=5), st.floats(0.5, 20))
def test_each_peer_gets_its_rate_and_one_burst(pieces: list[float], seconds: float) -> None:
    loop = FakeLoop()
    budget = ReadBudget(cast(Any, loop), rate=RATE, burst=BURST)
    peers = [Peer(budget, piece) for piece in pieces]
    for peer in peers:
        peer.read_on()
    loop.pass_time(seconds)
    for peer in peers:
        most = BURST + RATE * seconds + peer.piece
        least = BURST + RATE * (seconds - 2 * TICK) - peer.piece
        assert least - 1e-6 <= peer.spent <= most + 1e-6


def test_a_quiet_peer_costs_no_memory_and_no_timer() -> None:
    loop = FakeLoop()
    budget = ReadBudget(cast(Any, loop), rate=RATE, burst=BURST)
    peer = cast(Any, Peer(budget, 1))
    assert budget.spend(peer, 100)
    assert len(budget) == 1 and len(loop.calls) == 1
    loop.pass_time(1.0)
    assert len(budget) == 0 and not loop.calls
    assert not budget.spend(peer, 600) and budget.is_spent(peer)
    budget.forget(peer)
    assert not budget.is_spent(peer)
    loop.pass_time(2.0)
    assert not loop.calls


FRAMES = {
    "ping": b"\x89\x80\0\0\0\0",
    "pong": b"\x8a\x80\0\0\0\0",
    "fragment": b"\x00\x81\0\0\0\0x",
    "message": b"\x81\x81\0\0\0\0x",
}


@pytest.mark.parametrize("loop_name", ["asyncio"], indirect=True)
@pytest.mark.parametrize("kind", FRAMES)
def test_small_frames_are_read_at_the_rate_of_the_budget(
    start: Callable[..., Any], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = 0
    handle = AgentwsWebSocketProtocol._handle_frame

    def counting(self: AgentwsWebSocketProtocol, opcode: int, payload: Any) -> None:
        nonlocal frames
        frames += 1
        handle(self, opcode, payload)

    monkeypatch.setattr(AgentwsWebSocketProtocol, "_handle_frame", counting)
    limits = ServerLimits(frame_cost=1000, read_rate=200_000, read_burst=300_000)
    client = start(server_limits=limits).raw("echo")
    if kind == "fragment":
        client.send(1, b"x", fin=False)
    client.socket.settimeout(0.2)
    begun = time.monotonic()
    piece = FRAMES[kind] * 1000
    while (seconds := time.monotonic() - begun) < 0.8 or (frames <= 150 and seconds < 10):
        try:
            client.socket.send(piece)
        except TimeoutError:
            pass
    client.close()
    read, seconds = frames, time.monotonic() - begun
    # One pass of the event loop may begin before the budget is spent.
    assert 150 < read <= 300 + 200 * (seconds + 0.5) + 256


def test_large_messages_are_read_at_the_rate_of_the_budget(start: Callable[..., Any]) -> None:
    limits = ServerLimits(read_rate=500_000, read_burst=500_000)
    client = start(server_limits=limits).raw("sink")
    message = b"\x82\xfe\xff\xff\0\0\0\0" + bytes(65535)
    client.socket.settimeout(0.2)
    begun, sent = time.monotonic(), 0
    while (seconds := time.monotonic() - begun) < 1.0:
        try:
            sent += client.socket.send(message[sent % len(message) :])
        except TimeoutError:
            pass
    client.close()
    # What is sent and not read fits into the buffers of both ends.
    assert sent < 500_000 * (1 + seconds) + 6_000_000


def test_the_fragments_of_the_first_buffer_count_too(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = 0
    parse = AgentwsWebSocketProtocol._parse

    def counting(self: AgentwsWebSocketProtocol, size: int) -> None:
        nonlocal longest
        before = self._parser._at, self._parser.unparsed
        parse(self, size)
        if self._parser.unparsed is before[1]:
            longest = max(longest, self._parser._at - before[0])

    monkeypatch.setattr(AgentwsWebSocketProtocol, "_parse", counting)
    server = start()
    with server.waiting_to_accept() as client:
        client.sendall(b"\x01\x81\0\0\0\0x" + FRAMES["fragment"] * 30_000)
        server.app.go.set()
        server.seen()
        wait_until(lambda: longest > 0)
        time.sleep(0.3)
    # All at once, they would be 210,000 bytes.
    assert 0 < longest <= 256 * len(FRAMES["fragment"])


def test_a_peer_that_was_paused_is_served_in_the_end(start: Callable[..., Any]) -> None:
    limits = ServerLimits(frame_cost=1000, read_rate=100_000, read_burst=20_000)
    client = start(server_limits=limits).raw("echo")
    for number in range(100):
        client.send(1, b"%d" % number)
    assert [client.frame()[1] for _ in range(100)] == [b"%d" % one for one in range(100)]
    client.close()

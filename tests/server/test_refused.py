"""A peer that the gateway refuses is gone soon, also when it does not read the reason."""

from __future__ import annotations

import json
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from agentws.bench.attacks.hostile_peers import SEND, Peer, frame

from .serving import Running


def test_a_peer_that_never_reads_its_replies_is_gone_soon(unlimited: Running) -> None:
    peer = Peer(unlimited.port, time.monotonic() + 30, buffer=4096)
    peer.upgrade()
    peer.send(SEND)
    with peer.socket, pytest.raises(ConnectionError):
        # The answer fills the buffers of both ends. Then replies wait, and too many are refused.
        while not peer.is_over:
            peer.send(frame(0x81, json.dumps({"type": "ping", "id": "p"}).encode()))
            time.sleep(0.002)
        pytest.fail("the server kept the connection")


def test_a_peer_that_sends_too_much_gets_its_close_code_if_it_reads(usual: Running) -> None:
    url = f"ws://127.0.0.1:{usual.port}/ws/chat"
    with connect(url, subprotocols=[Subprotocol("agentws.v1")], close_timeout=2) as client:
        with pytest.raises(ConnectionClosed) as closed:
            for number in range(10_000):
                client.send(json.dumps({"type": "ping", "id": str(number)}))
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4429


@pytest.mark.parametrize("size", [70_000, 300_000])
def test_a_peer_that_sends_on_after_its_refusal_is_gone_in_time(usual: Running, size: int) -> None:
    peer = Peer(usual.port, time.monotonic() + 15)
    peer.upgrade()
    begun = time.monotonic()
    with peer.socket, pytest.raises(ConnectionError):
        peer.send(bytes((0x81, 0xFF)) + size.to_bytes(8, "big") + bytes(4 + size))
        peer.flood(bytes(65536))
        pytest.fail("the server kept the connection")
    # The wait for its close, and a slow machine.
    assert time.monotonic() - begun < 8

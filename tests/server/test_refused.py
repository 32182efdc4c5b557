"""A peer that the gateway refuses is gone soon, also when it does not read the reason."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from agentws import Agent, Limits, RunContext, mount_agent_gateway
from agentws.bench.attacks import SEND, Peer, frame
from agentws.server import Server, ServerLimits, server_config

UNLIMITED = Limits(
    message_rate=1e9, message_burst=10**9, byte_rate=1e9, max_errors=10**9, max_queued=10**6
)


class Speaker(Agent):
    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        for _ in range(40):
            yield "0123456789" * 5000


class Running:
    """A gateway on the preset, without keepalive: only a refusal ends a connection."""

    def __init__(self, limits: Limits) -> None:
        app = Starlette()
        mount_agent_gateway(app, Speaker, limits=limits)
        generous = ServerLimits(read_rate=10**9, read_burst=10**9, close_timeout=1.0)
        options: dict[str, Any] = {"log_config": None, "ws_ping_interval": None}
        config = server_config(app, port=0, server_limits=generous, **options)
        self.server = Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        end = time.monotonic() + 10
        while not self.server.started:
            assert time.monotonic() < end
            time.sleep(0.01)
        self.port: int = self.server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()


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

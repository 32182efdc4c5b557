"""The buffers of the system are bounded for each connection, and lost connections are no errors."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from agentws.bench.attacks.hostile_peers import SEND, SHARED, Peer
from agentws.server import Server, ServerLimits
from agentws.server.buffers import limit_buffers
from agentws.server.preset import server_config
from tests.processes import wait_until

from .serving import Running

OPTIONS = [
    (socket.SOL_SOCKET, socket.SO_SNDBUF),
    (socket.SOL_SOCKET, socket.SO_RCVBUF),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY),
]


def wait_for_options(port: int, connections: Any) -> None:
    """Returns when the server's end of a new connection has the options of the preset."""
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        wait_until_set(connections)
    wait_until(lambda: not connections)


def wait_until_set(connections: Any) -> None:
    values: list[int] = []

    def are_set() -> bool:
        for protocol in tuple(connections):
            one = protocol.transport.get_extra_info("socket")
            values[:] = [one.getsockopt(*option) for option in OPTIONS]
        return values == wanted

    wanted = expected()
    wait_until(are_set, lambda: f"{values} instead of {wanted}", within=10)


def expected() -> list[int]:
    limits = ServerLimits()
    with socket.socket() as one:
        limit_buffers(one, limits)
        values = [one.getsockopt(*option) for option in OPTIONS]
    assert values[0] <= 2 * limits.send_buffer and values[1] <= 2 * limits.receive_buffer
    assert values[2:] == [30_000, 1]
    return values


def test_connections_inherit_the_buffers_of_their_listener(
    usual: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "agentws.server.shared.limit_buffers", lambda *_: pytest.fail("set for each connection")
    )
    wait_for_options(usual.port, usual.server.server_state.connections)


def test_a_client_that_connects_before_the_application_has_started_has_the_same_buffers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as opened:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            opened.enter_context(socket.create_connection(listener.getsockname()))
            for change in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{change}.complete"})

        server = Server(server_config(app, lifespan="on", log_config=None))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            wait_until_set(server.server_state.connections)
        finally:
            server.should_exit = True
            thread.join()


def test_a_server_of_uvicorn_itself_bounds_the_buffers_of_each_connection(plain: Any) -> None:
    assert not isinstance(plain.uvicorn, Server)
    wait_for_options(plain.port, plain.uvicorn.server_state.connections)


def test_peers_that_read_nothing_cost_bounded_memory_each(unlimited: Running) -> None:
    count = 20
    with contextlib.ExitStack() as opened:
        unread(unlimited, opened)
        # The log of their session is shared, and is not counted.
        wait_until(lambda: unlimited.counted("active_runs") == 0 and bool(queues(unlimited.port)))
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(count):
                unread(unlimited, opened)
            wait_until(lambda: len(queues(unlimited.port)) > count)
            time.sleep(1.0)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        in_kernel = queues(unlimited.port)
    assert 0 < (after - before) / count < 256 * 1024
    assert max(in_kernel) <= 128 * 1024


def unread(running: Running, opened: contextlib.ExitStack) -> None:
    """A peer of the shared session that reads nothing of what was said there."""
    peer = Peer(running.port, time.monotonic() + 30, buffer=4096)
    opened.enter_context(peer.socket)
    peer.upgrade(SHARED)
    peer.send(SEND)


def queues(port: int) -> list[int]:
    """The bytes in the send queues of the server's connections, of those that are not empty."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    ours = [one for one in fields if int(one[1].rpartition(":")[2], 16) == port]
    return [size for one in ours if (size := int(one[4].partition(":")[0], 16))]


def test_a_unix_socket_has_buffers_and_no_option_of_tcp() -> None:
    one, other = socket.socketpair()
    with one, other:
        limit_buffers(one, ServerLimits(send_buffer=32 * 1024))
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 64 * 1024


@pytest.mark.parametrize("data", [b"\x81", b"\x81\xfe\x01\x00\0\0\0\0abc", b"\x01\x81\0\0\0\0a"])
def test_a_connection_that_is_reset_in_a_frame_is_no_error(
    plain: Any, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    client = plain.raw("echo")
    client.socket.sendall(data)
    client.reset()
    assert plain.seen()["code"] == 1006
    assert [one for one in caplog.records if one.levelno > logging.INFO] == []

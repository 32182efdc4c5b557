"""Signals that end a server: the first one drains, the second one ends it at once."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import SO_RCVBUF, SOL_SOCKET, socket
from typing import Any

import httpx2
import pytest
from websockets.sync.client import ClientConnection, connect

from tests import processes

from .test_draining import closed, until

HERE = Path(__file__).parent
TOTAL = 10.0
"""Seconds that a shutdown may take besides the time of runs."""
LOADED = 5.0
"""Seconds that a test machine may be late."""
SERVERS = ["preset", "uvicorn"]
UNANNOUNCED = ["preset without a lifespan", "preset of a sub-application"]
"""Here the gateway starts with the first request, and the server has not heard of it before."""


@contextmanager
def service(kind: str, folder: Path, *, drain_timeout: float = 1.0) -> Iterator[processes.Server]:
    with processes.Server(
        "signals_service.py",
        kind,
        str(folder / "log.db"),
        "{port}",
        str(drain_timeout),
        folder=HERE,
        output_file=folder / "output.txt",
    ) as server:
        yield server


@contextmanager
def chatting(server: processes.Server, say: str) -> Iterator[ClientConnection]:
    url = f"ws://{server.host}/ws/chat"
    with connect(url, subprotocols=["agentws.v1"]) as client:  # type: ignore[list-item]
        client.send(json.dumps({"type": "send", "id": "m1", "content": say}))
        until(client, "TEXT_MESSAGE_CONTENT")
        yield client


def wait_for_end(server: processes.Server, *, within: float) -> float:
    """The seconds until the process has ended."""
    begun = time.monotonic()
    server.process.wait(within + LOADED)
    return time.monotonic() - begun


@pytest.mark.parametrize("kind", SERVERS + UNANNOUNCED)
def test_a_signal_tells_clients_when_to_come_back_and_waits_for_runs(
    tmp_path: Path, kind: str
) -> None:
    """Plain uvicorn would close every connection without a word."""
    with service(kind, tmp_path, drain_timeout=60.0) as server, chatting(server, "wait") as client:
        server.process.send_signal(signal.SIGTERM)
        bye: dict[str, Any] = until(client, "bye")
        assert (bye["code"], bye["retryable"]) == (1012, True) and bye["retryAfter"] >= 0.5
        assert closed(client) == 1012
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(0.5)
        (tmp_path / "end").touch()
        wait_for_end(server, within=15)
        assert server.process.returncode in (0, -signal.SIGTERM)
        assert "Traceback" not in server.output


@pytest.mark.parametrize("kind", SERVERS)
def test_ctrl_c_ends_a_server_without_a_traceback(tmp_path: Path, kind: str) -> None:
    with service(kind, tmp_path) as server:
        server.process.send_signal(signal.SIGINT)
        wait_for_end(server, within=15)
        assert server.process.returncode == 0
        assert "Traceback" not in server.output


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_server_at_once(
    tmp_path: Path, kind: str, second: signal.Signals
) -> None:
    with service(kind, tmp_path, drain_timeout=600.0) as server, chatting(server, "hang") as client:
        server.process.send_signal(signal.SIGTERM)
        until(client, "bye")
        server.process.send_signal(second)
        wait_for_end(server, within=3)


def test_a_second_signal_ends_a_server_whose_loop_is_blocked(tmp_path: Path) -> None:
    with service("preset", tmp_path, drain_timeout=600.0) as server:
        with chatting(server, "block"):
            time.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(1.5)
            assert server.process.poll() is None
            server.process.send_signal(signal.SIGTERM)
            wait_for_end(server, within=4)
            assert server.process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_shutdown_takes_10_seconds_more_than_runs_get_whatever_hangs(
    tmp_path: Path, how: signal.Signals
) -> None:
    """An agent that ignores its cancellation, and a peer that reads nothing."""
    with service("preset", tmp_path) as server:
        with chatting(server, "ignore"), silent_peer(server), chatting(server, "hang"):
            server.process.send_signal(how)
            took = wait_for_end(server, within=1.0 + TOTAL)
            assert took <= 1.0 + TOTAL + LOADED


@contextmanager
def silent_peer(server: processes.Server) -> Iterator[None]:
    """A peer that asked for eight megabytes, and reads none of it."""
    with socket() as connection:
        connection.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(
            f"GET /ws/chat HTTP/1.1\r\nHost: {server.host}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert b" 101 " in connection.recv(1024)
        text = b"flood"
        connection.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
        time.sleep(0.5)
        yield


def test_an_admin_drains_and_then_the_server_ends_without_delay(tmp_path: Path) -> None:
    """As before a pod is stopped: its `preStop` hook drains, and the signal follows."""
    with service("preset", tmp_path, drain_timeout=20.0) as server:
        with chatting(server, "slow") as client:
            headers = {"x-api-key": "the-admin-key"}
            url = f"http://{server.host}"
            response = httpx2.post(f"{url}/admin/drain", headers=headers, timeout=30)
            assert response.json()["status"] == "drained"
            until(client, "bye")
            assert httpx2.get(f"{url}/readyz").json()["draining"] is True
            assert httpx2.get(f"{url}/health").status_code == 200
            server.process.send_signal(signal.SIGTERM)
            assert wait_for_end(server, within=3) <= 3 + LOADED

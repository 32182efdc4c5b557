"""A graceful shutdown: clients get a bye, runs get time to finish, then the server closes."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from agentws.backends.sqlite import SQLiteStore
from agentws.server import Server, server_config
from agentws.server.draining import DRAINS
from agentws.testing.oracle import read_log
from tests import processes

SESSION = "ses_of_a_stopping_server"
HERE = Path(__file__).parent


def until(client: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        said = json.loads(client.recv(10))
        frames: list[dict[str, Any]] = said if isinstance(said, list) else [said]
        for frame in frames:
            if frame.get("event", frame)["type"] == kind:
                return frame


def closed(client: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as gone:
        while True:
            client.recv(10)
    assert gone.value.rcvd is not None
    return gone.value.rcvd.code


def test_a_shutdown_tells_clients_to_reconnect_and_lets_the_run_finish(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    server = processes.Server(
        "slow_service.py", str(path), "{port}", folder=HERE, output_file=tmp_path / "output.txt"
    )
    with server:
        url = f"{server.host}/ws/chat?session={SESSION}"
        with connect(f"ws://{url}", subprotocols=["agentws.v1"]) as client:  # type: ignore[list-item]
            client.send(json.dumps({"type": "send", "id": "m1", "content": "go"}))
            until(client, "TEXT_MESSAGE_CONTENT")
            events = f"http://{server.host}/sessions/{SESSION}/events"
            with httpx2.stream("GET", events) as stream:
                lines = stream.iter_lines()
                assert any("welcome" in line for line in lines)
                server.process.send_signal(signal.SIGTERM)
                bye = until(client, "bye")
                assert (bye["code"], bye["retryable"]) == (1012, True)
                assert closed(client) == 1012
                assert "event: bye" in list(lines)
        assert server.process.wait(20) == -signal.SIGTERM
        assert "Traceback" not in server.output
        # No log line contains the id of an anonymous session.
        assert SESSION not in server.output
    epoch, records = asyncio.run(logged(path))
    assert b'"RUN_FINISHED"' in records[-1].data


async def logged(path: Path) -> tuple[str, list[Any]]:
    store = SQLiteStore(path)
    await store.open()
    try:
        return await read_log(store, SESSION)
    finally:
        await store.close()


class Draining:
    """Registers a drain that ends when `may_end` is set; `happened` is the order of events."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.state: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"][DRAINS].append(self.drain)
            for _ in range(2):
                message = await receive()
                self.happened.append(message["type"])
                await send({"type": message["type"] + ".complete"})
        elif scope["type"] == "websocket":
            self.state = scope["state"]
            await receive()
            await send({"type": "websocket.accept"})
            self.happened.append((await receive())["type"])

    async def drain(self) -> None:
        self.happened.append("drain")
        self.begun.set()
        await asyncio.to_thread(self.may_end.wait)


class Running:
    """A server in a thread."""

    def __init__(self, app: Any, **options: Any) -> None:
        self.server = Server(server_config(app, port=0, log_config=None, **options))
        self._started = threading.Event()
        startup = self.server.startup

        async def reporting(sockets: Any = None) -> None:
            await startup(sockets=sockets)
            self._started.set()

        self.server.startup = reporting  # type: ignore[method-assign]
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        assert self._started.wait(10)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def ended(self) -> bool:
        self.thread.join(10)
        return not self.thread.is_alive()


def test_the_application_is_drained_before_connections_are_closed() -> None:
    app = Draining()
    running = Running(app, timeout_graceful_shutdown=5)
    with connect(f"ws://127.0.0.1:{running.port}/") as client:
        running.server.should_exit = True
        assert app.begun.wait(10)
        with pytest.raises(ConnectionRefusedError):
            connect(f"ws://127.0.0.1:{running.port}/")
        with pytest.raises(TimeoutError):
            client.recv(0.3)
        app.may_end.set()
        assert closed(client) == 1012
    assert running.ended()
    assert app.happened == [
        "lifespan.startup",
        "drain",
        "websocket.disconnect",
        "lifespan.shutdown",
    ]
    # The list belongs to the lifespan: requests must not see it.
    assert DRAINS not in app.state


def test_a_second_ctrl_c_ends_the_drain() -> None:
    app = Draining()
    running = Running(app)
    running.server.should_exit = True
    assert app.begun.wait(10)
    running.server.handle_exit(signal.SIGINT, None)
    app.may_end.set()
    running.server._captured_signals.clear()
    assert running.ended()
    assert "lifespan.shutdown" not in app.happened


def test_a_failed_drain_is_logged_and_the_server_still_stops(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Draining()

    async def failing() -> None:
        raise RuntimeError("as ordered")

    app.drain = failing  # type: ignore[method-assign]
    running = Running(app)
    running.server.should_exit = True
    assert running.ended()
    assert "Draining the application failed" in caplog.text
    assert app.happened[-1] == "lifespan.shutdown"


@pytest.mark.parametrize(("took", "left"), [(0.0, 15), (6.0, 9), (60.0, 1)])
async def test_the_time_of_the_drain_counts_towards_the_graceful_shutdown_timeout(
    took: float, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(server_config(Draining(), log_config=None))
    server.servers = []
    now = asyncio.get_running_loop().time()
    seen: list[int | None] = []

    async def drain() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now + took)

    async def closing(self: Any, sockets: Any = None) -> None:
        seen.append(self.config.timeout_graceful_shutdown)

    server.drains = [drain]
    monkeypatch.setattr("uvicorn.Server.shutdown", closing)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    await server.shutdown()
    assert seen == [left]


def test_the_preset_has_no_access_log() -> None:
    assert server_config(Draining(), log_config=None).access_log is False

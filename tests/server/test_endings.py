"""Closing has a deadline where the peer does nothing. And the settings of the preset."""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from agentws.server import (
    AgentwsWebSocketProtocol,
    ServerLimits,
    preset,
    serve,
    server_config,
)
from agentws.server.strict_h11 import PresetH11Protocol
from tests.processes import wait_until

CLOSE = 0x88


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application."""


def test_the_settings_of_the_preset() -> None:
    config = server_config(nothing, log_config=None)
    assert config.ws is AgentwsWebSocketProtocol and not config.ws_per_message_deflate
    assert config.ws_max_size == 256 * 1024
    assert config.timeout_graceful_shutdown == 15


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"port": 70_000}, ValueError),
        ({"port": -1}, ValueError),
        ({"port": "8000"}, TypeError),
        ({"port": True}, TypeError),
        ({"host": ""}, ValueError),
        ({"host": None}, TypeError),
        ({"app": None}, TypeError),
        ({"app": 42}, TypeError),
        ({"server_limits": {"max_headers": 3}}, TypeError),
    ],
    ids=str,
)
def test_an_option_that_would_serve_something_else_is_refused(
    options: dict[str, Any], error: type[Exception]
) -> None:
    [name] = options
    with pytest.raises(error, match=f"^{name} is .*; expected"):
        server_config(**{"app": nothing, **options})


def test_serve_removes_its_unix_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("gc.freeze", lambda: None)
    path = tmp_path / "chat.sock"
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: path.touch())
    serve(nothing, uds=str(path), log_config=None)
    assert not path.exists()


def test_serve_removes_its_unix_socket_after_ctrl_c_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("gc.freeze", lambda: None)
    path = tmp_path / "chat.sock"

    def run(self: Any, sockets: Any) -> None:
        path.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("uvicorn.Server.run", run)
    serve(nothing, uds=str(path), log_config=None)
    assert not path.exists()


def test_options_override_the_preset() -> None:
    config = server_config(nothing, "0.0.0.0", 80, ws_max_size=1, ws="none", log_config=None)
    assert (config.host, config.port, config.ws_max_size, config.ws) == ("0.0.0.0", 80, 1, "none")


def test_serve_tunes_the_garbage_collector_and_accepts_sockets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served: list[Any] = []
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: served.append((self, sockets)))
    monkeypatch.setattr("gc.freeze", lambda: served.append("frozen"))
    monkeypatch.setattr("gc.set_threshold", lambda *levels: served.append(levels))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serve(nothing, sockets=[listener], ws_max_size=1, log_config=None)
    assert served[:2] == ["frozen", preset.COLLECTOR_THRESHOLDS]
    server, sockets = served[2]
    assert server.config.ws_max_size == 1 and sockets == [listener]


def test_the_preset_uses_h11_where_httptools_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "agentws.server.upgrading", raising=False)
    monkeypatch.setitem(sys.modules, "httptools", None)
    assert server_config(nothing, log_config=None).http is PresetH11Protocol


def test_a_peer_that_does_not_answer_a_close_is_dropped_after_a_timeout(
    start: Any,
) -> None:
    server = start(server_limits=ServerLimits(close_timeout=0.1))
    client = server.raw("close")
    assert client.frame() == (CLOSE, struct.pack("!H", 4401) + b"who?")
    assert client.frame() == (0, b"")
    client.close()


def test_a_late_message_does_not_end_the_wait_for_the_close_frame(start: Any) -> None:
    server = start()
    client = server.raw("close")
    assert client.frame()[0] == CLOSE
    client.send(0x1, b"too late")
    client.send(0x8, struct.pack("!H", 4401))
    assert client.frame() == (0, b"")
    client.close()


def test_a_shutdown_does_not_wait_for_a_peer_that_never_reads(
    start: Any,
) -> None:
    # Without keepalive, so that only the shutdown can end it.
    server = start(
        ws_ping_interval=None,
        timeout_graceful_shutdown=None,
        server_limits=ServerLimits(close_timeout=0.2),
    )
    client = server.raw("flood")
    wait_until(lambda: any(each._write_paused for each in server.connections()))
    assert server.app.seen.empty()
    server.stop()
    assert server.seen()["type"] == "gone"
    client.close()


def test_a_shutdown_during_a_handshake_answers_503(start: Any) -> None:
    server = start()
    with server.waiting() as client:
        server.stop()
        assert client.recv(12) == b"HTTP/1.1 503"
    assert server.seen() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}

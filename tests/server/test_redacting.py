"""No log line of the server contains a token of a URL, or a character that a client forged."""

from __future__ import annotations

import logging
import socket
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from agentws.server.redacting import RedactingFilter, install
from agentws.server.strict_h11 import PresetH11Protocol

CANARY = "tokencanary7731"
FORGED = "%0d%0aINFO%3a%20forged%1b[2J%e2%80%a8"


def said(server: Any, path: str, query: str) -> None:
    request = f"GET {path}?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(request.encode())
        while client.recv(65536):
            pass


@pytest.mark.parametrize("ws", [None, "websockets-sansio"])
@pytest.mark.parametrize("http", [None, PresetH11Protocol])
def test_no_token_of_a_url_and_no_forged_line_is_logged(
    start: Any, caplog: pytest.LogCaptureFixture, ws: Any, http: Any
) -> None:
    chosen = {name: value for name, value in {"ws": ws, "http": http}.items() if value}
    # A host that wants an access log, and a WebSocket class that logs what it accepts.
    server = start(access_log=True, log_level="debug", **chosen)
    caplog.set_level(logging.DEBUG)
    query = f"token={CANARY}&a={FORGED}"
    with connect(server.url(f"echo?{query}")) as client:
        client.send("hello")
        client.recv(10)
    for path in ("refuse", "deny", "crash_early"):
        with pytest.raises(InvalidStatus):
            connect(server.url(f"{path}?{query}"))
    said(server, "/early", query)
    said(server, f"/%0d%0aINFO:forged{FORGED}/../early", query)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(f"GET /?{query} HTTP/1.1\r\nno header\r\n\r\n".encode())
        client.recv(65536)
    lines = [one.getMessage() for one in caplog.records if one.name.startswith("uvicorn")]
    assert any("/early?..." in line for line in lines) and any("/echo" in line for line in lines)
    for line in lines:
        assert CANARY not in line
        assert not any(character in line.strip() for character in "\r\n\x1b\u2028")


def test_a_record_keeps_what_is_no_text_and_hides_queries_and_controls() -> None:
    record = logging.LogRecord(
        "a", 20, "f", 1, "%s %s %s %d", ("a\nb", "/p?t=1 x", "why?", 3), None
    )
    assert RedactingFilter().filter(record)
    assert record.getMessage() == "a\\x0ab /p?... x why? 3"
    plain = logging.LogRecord("a", 20, "f", 1, "100%", None, None)
    assert RedactingFilter().filter(plain) and plain.getMessage() == "100%"


def test_it_is_installed_once() -> None:
    install()
    install()
    filters = logging.getLogger("uvicorn.error").filters
    assert len([one for one in filters if isinstance(one, RedactingFilter)]) == 1

"""Plain uvicorn waits for every response: it stops and reloads all the same with streams open."""

from __future__ import annotations

import http.client
import json
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from socket import create_connection
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from agentws.gateway.server_exit import server_exiting
from tests import processes

SESSION = "ses_of_a_server_that_reloads"
PATIENCE = 30.0
APP = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from agentws import SQLiteStore, mount_agent_gateway


async def agent(ctx):
    yield "hello"


app = Starlette(routes=[Route("/version", lambda request: PlainTextResponse("VERSION"))])
mount_agent_gateway(app, agent, store=SQLiteStore("chat.db"))
"""


def write(folder: Path, version: str) -> None:
    (folder / "main.py").write_text(APP.replace("VERSION", version))


@contextmanager
def uvicorn(folder: Path, *options: str) -> Iterator[processes.Server]:
    write(folder, "one")
    command = ["-m", "uvicorn", "main:app", "--port", "{port}", *options]
    with processes.Server(*command, folder=folder, output_file=folder / "output.txt") as server:
        processes.wait_until(lambda: version(server) == "one", lambda: server.output)
        body = json.dumps({"id": "m1", "content": "go"}).encode()
        url = f"http://{server.host}/sessions/{SESSION}/messages"
        headers = {"content-type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10).close()
        processes.wait_until(lambda: not look(server, "")["running"], lambda: server.output)
        yield server


def version(server: processes.Server) -> str:
    try:
        with urllib.request.urlopen(f"http://{server.host}/version", timeout=5) as response:
            return str(response.read().decode())
    except OSError:
        return ""


def look(server: processes.Server, below: str) -> Any:
    url = f"http://{server.host}/sessions/{SESSION}{below}"
    request = urllib.request.Request(url, headers={"accept": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def stream(server: processes.Server, opened: threading.Event) -> str:
    """An open event stream; its last line."""
    url, last = f"http://{server.host}/sessions/{SESSION}/events", ""
    with httpx2.stream("GET", url, timeout=60) as response:
        for line in response.iter_lines():
            opened.set()
            last = line.removeprefix("event: ") if line.startswith("event: ") else last
    return last


def socket(server: processes.Server, opened: threading.Event) -> str:
    url = f"ws://{server.host}/ws/chat?session={SESSION}"
    with connect(url, subprotocols=["agentws.v1"]) as client:  # type: ignore[list-item]
        try:
            while True:
                client.recv(60)
                opened.set()
        except ConnectionClosed as closed:
            return "bye" if closed.rcvd is not None and closed.rcvd.code == 1012 else repr(closed)


def poll(server: processes.Server, opened: threading.Event) -> str:
    """A request whose answer takes longer than this test."""
    position = look(server, "/events")["position"]
    path = f"/sessions/{SESSION}/events?after={position}&wait=60"
    with closing(http.client.HTTPConnection(server.host, timeout=60)) as connection:
        connection.request("GET", path, headers={"accept": "application/json"})
        # The server has read it when it has answered requests that were sent later.
        for _ in range(2):
            look(server, "")
        opened.set()
        said = json.load(connection.getresponse())
    return "bye" if said["events"] == [] else str(said)


def silent(server: processes.Server, opened: threading.Event) -> str:
    """A peer that reads but never answers a close frame."""
    request = (
        f"GET /ws/chat?session={SESSION} HTTP/1.1\r\nHost: {server.host}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(request.encode())
        received = connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 101 "), received
        opened.set()
        while received := connection.recv(65536):
            last = received
    return "bye" if b"\x03\xf4" in last else repr(last)


OPEN = [stream, socket, poll, silent]


def save_until_served(server: processes.Server, folder: Path, wanted: str) -> None:
    """Saves the file repeatedly: the first time may be before the reloader watches it."""
    deadline = time.monotonic() + PATIENCE
    while version(server) != wanted:
        assert time.monotonic() < deadline, server.output
        write(folder, wanted)
        asked_until = time.monotonic() + 5
        while version(server) != wanted and time.monotonic() < asked_until:
            time.sleep(0.05)


@contextmanager
def opened(server: processes.Server, kinds: list[Any]) -> Iterator[list[str]]:
    """Opens connections of these kinds; afterwards holds how each of them ended."""
    ended: list[str] = []
    threads = []
    for kind in kinds:
        event = threading.Event()

        def follow(kind: Any = kind, event: threading.Event = event) -> None:
            ended.append(kind(server, event))

        threads.append(threading.Thread(target=follow, daemon=True))
        threads[-1].start()
        assert event.wait(PATIENCE)
    yield ended
    for thread in threads:
        thread.join(PATIENCE)


@pytest.mark.parametrize("kinds", [[stream], [socket], [poll], [silent], [*OPEN, *OPEN]])
def test_uvicorn_reloads_with_any_connection_open(tmp_path: Path, kinds: list[Any]) -> None:
    with uvicorn(tmp_path, "--reload") as server:
        with opened(server, kinds) as ended:
            save_until_served(server, tmp_path, "two")
        assert ended == ["bye"] * len(kinds)
        assert "Traceback" not in server.output
        assert server.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("loop", ["asyncio", *(["uvloop"] if sys.platform != "win32" else [])])
def test_uvicorn_stops_with_any_connection_open(tmp_path: Path, loop: str) -> None:
    with uvicorn(tmp_path, "--loop", loop) as server:
        with opened(server, OPEN) as ended:
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(PATIENCE) in (0, -signal.SIGTERM), server.output
        assert ended == ["bye"] * len(OPEN)
        assert "Traceback" not in server.output


class Stub:
    def __init__(self, should_exit: Any) -> None:
        self.should_exit = should_exit

    def handle_exit(self, *_: Any) -> None:
        """With the method of uvicorn's server."""


@pytest.mark.parametrize(
    "handler",
    [signal.SIG_DFL, signal.SIG_IGN, lambda *_: None, Stub(None).handle_exit, {}.get],
)
def test_a_signal_handler_that_is_not_uvicorns_is_ignored(handler: Any) -> None:
    before = signal.signal(signal.SIGTERM, handler)
    try:
        assert server_exiting() is None
        signal.signal(signal.SIGTERM, (stub := Stub(False)).handle_exit)
        exiting = server_exiting()
        assert exiting is not None and not exiting()
        stub.should_exit = True
        assert exiting()
    finally:
        signal.signal(signal.SIGTERM, before)

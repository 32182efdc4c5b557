"""Uploads over real connections: large, slow, cut; to a server in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes import ROOT, Server, is_healthy, wait_until

from .calling import SESSION

MIB = 1024 * 1024
GROWTH = 24 * MIB
"""Bytes that a server may grow by, whatever is uploaded: buffers, and the allocator's reserve."""


class Gateway(Server):
    def answers(self) -> bool:
        return is_healthy(f"http://{self.host}/health")

    @property
    def resident(self) -> int:
        """Bytes of its resident memory, at the highest so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "chat.sqlite3.files"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Gateway]:
    command = ["-m", "agentws.cli", "run", "tests.files.served_agent:Reader", "--port", "{port}"]
    command += ["--store", f"sqlite:{tmp_path}/chat.sqlite3"]
    with Gateway(*command, folder=ROOT, output_file=tmp_path / "log") as running:
        yield running


def connected(server: Gateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def head(server: Gateway, *headers: str, method: str = "PUT", path: str = "/files/x") -> bytes:
    lines = [f"{method} {path}?session={SESSION} HTTP/1.1", f"Host: {server.host}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def response(connection: socket.socket) -> tuple[int, dict[str, object], bool]:
    """Status, body, and whether the server closed the connection after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        assert received, data
        data += received
    lines, _, body = data.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines.split(b"\r\n")[1:])
    while len(body) < int(headers[b"content-length"]):
        body += connection.recv(65536)
    return int(lines.split()[1]), json.loads(body), headers.get(b"connection") == b"close"


def left(folder: Path) -> tuple[int, int]:
    """How many files the disk has, and how many rows the index."""
    with closing(sqlite3.connect(folder / "index.sqlite3")) as index:
        (rows,) = index.execute("SELECT count(*) FROM files").fetchone()
    return len(os.listdir(folder / "data")), rows


def test_two_gigabytes_are_refused_before_they_are_sent(server: Gateway, folder: Path) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, f"Content-Length: {2 * 1024 * MIB}"))
        status, error, closes = response(connection)
        assert (status, error["code"], closes) == (413, "too_large", True)
    assert left(folder) == (0, 0)


def test_a_client_that_waits_for_a_go_ahead_gets_the_refusal_at_once(server: Gateway) -> None:
    with connected(server) as connection:
        length = f"Content-Length: {2 * 1024 * MIB}"
        connection.sendall(head(server, length, "Expect: 100-continue"))
        status, _, _ = response(connection)
        assert status == 413
        began = time.monotonic()
        assert connection.recv(1) == b""
        # It does not wait for the body: a connection whose rest is awaited lasts 2 seconds more.
        assert time.monotonic() - began < 1.8


def test_memory_is_flat_however_much_is_sent_and_the_error_arrives(
    server: Gateway, folder: Path
) -> None:
    """Without a length it is refused when the limit is passed, while the client still sends."""
    before = server.resident
    chunk = b"100000\r\n" + bytes(MIB) + b"\r\n"
    with connected(server) as connection:
        connection.sendall(head(server, "Transfer-Encoding: chunked"))
        sent = 0
        try:
            for _ in range(300):
                connection.sendall(chunk)
                sent += 1
        except (BrokenPipeError, ConnectionResetError):
            assert sent > 10
        else:
            status, error, closes = response(connection)
            assert (status, error["code"], closes) == (413, "too_large", True)
    assert server.resident - before < GROWTH
    wait_until(lambda: left(folder) == (0, 0))


def test_memory_is_flat_while_files_are_stored_and_read(server: Gateway, folder: Path) -> None:
    before = server.resident
    data = os.urandom(MIB)
    for _ in range(8):
        with connected(server) as connection:
            connection.sendall(head(server, f"Content-Length: {10 * MIB}"))
            for _ in range(10):
                connection.sendall(data)
            status, file, closes = response(connection)
            assert (status, file["size"], closes) == (201, 10 * MIB, False)
            connection.sendall(head(server, method="GET", path=f"/files/{file['id']}"))
            received = 0
            while received < 10 * MIB:
                received += len(connection.recv(MIB))
    assert server.resident - before < GROWTH
    assert left(folder) == (8, 8)


@pytest.mark.parametrize("reset", [True, False])
def test_an_upload_that_is_cut_leaves_nothing(server: Gateway, folder: Path, reset: bool) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, f"Content-Length: {8 * MIB}"))
        connection.sendall(bytes(7 * MIB))
        wait_until(lambda: left(folder) == (1, 1))
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: left(folder) == (0, 0))


def test_a_form_that_is_cut_leaves_none_of_its_files(server: Gateway, folder: Path) -> None:
    part = b'--XX\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'
    with connected(server) as connection:
        form = "Content-Type: multipart/form-data; boundary=XX"
        connection.sendall(
            head(server, form, f"Content-Length: {8 * MIB}", method="POST", path="/files")
        )
        connection.sendall(part + b"first\r\n" + part + bytes(3 * MIB))
        wait_until(lambda: left(folder) == (2, 2))
    wait_until(lambda: left(folder) == (0, 0))


def test_a_slow_upload_is_kept_as_it_was_sent(server: Gateway, folder: Path) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, "Content-Length: 20"))
        for _ in range(20):
            connection.sendall(b"x")
            time.sleep(0.02)
        status, file, _ = response(connection)
        assert (status, file["size"]) == (201, 20)


def test_what_a_killed_server_had_begun_is_swept(
    server: Gateway, folder: Path, tmp_path: Path
) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, f"Content-Length: {8 * MIB}"))
        connection.sendall(bytes(7 * MIB))
        wait_until(lambda: left(folder) == (1, 1))
        server.stop(signal.SIGKILL)
    assert left(folder) == (1, 1)
    with closing(sqlite3.connect(folder / "index.sqlite3")) as index, index:
        index.execute("UPDATE files SET created = created - 200000")
    server.start()
    wait_until(lambda: left(folder) == (0, 0))


def test_a_kept_connection_serves_the_next_request_after_a_small_refusal(server: Gateway) -> None:
    """A body that was read to its end needs no close."""
    with connected(server) as connection:
        for _ in range(2):
            connection.sendall(
                head(
                    server,
                    "Content-Type: multipart/form-data; boundary=XX",
                    "Content-Length: 6",
                    method="POST",
                    path="/files",
                )
                + b"--XX--"
            )
            status, _, closes = response(connection)
            assert (status, closes) == (400, False)

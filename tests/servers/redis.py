"""Redis servers for tests, each a process of its own: started, paused, killed, restarted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from redis_servers import SERVERS, find

from tests.ports import free_port

REDIS: Final = "AGENTWS_REDIS_SERVER"
OLDEST: Final = "AGENTWS_REDIS_OLDEST"
VALKEY: Final = "AGENTWS_VALKEY_SERVER"
KINDS: Final = (REDIS, OLDEST, VALKEY)
"""The variables that name a server; see ``.ci/redis_servers.py``."""
PATIENCE: Final = 20.0
_TRIES: Final = 5
_QUIET: Final = {
    "bind": "127.0.0.1",
    "save": "",
    "appendonly": "no",
    "daemonize": "no",
    "repl-diskless-sync-delay": "0",
}


class RedisServer:
    """A server on a free port with its data in ``folder``; a context manager that starts and kills.

    ``settings`` are lines of its configuration; by default nothing is written to disk. ``kind`` is
    one of ``KINDS``. ``replica_of``: the primary that it follows.
    """

    def __init__(
        self,
        folder: Path,
        *,
        kind: str = REDIS,
        settings: Mapping[str, str] | None = None,
        replica_of: RedisServer | None = None,
    ) -> None:
        self.port = 0
        self.settings = {**_QUIET, **(settings or {})}
        self._folder = folder
        self._program = program(kind)
        self._primary = replica_of

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def output(self) -> str:
        return self._output.read_text() if self._output.exists() else ""

    @property
    def _output(self) -> Path:
        return self._folder / "output"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Returns when it answers: on a free port at first, and on the same port at every restart.

        A replica has then copied its primary's data.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for _ in range(1 if self.port else _TRIES):
            port = self.port or free_port()
            begun = len(self.output)
            self._launch(port)
            if self._wait(port, begun):
                self.port = port
                return
        raise AssertionError(f"the Redis server did not start: {self.output}")

    def _launch(self, port: int) -> None:
        given = {**self.settings, "port": str(port), "dir": str(self._folder)}
        if self._primary is not None:
            given["replicaof"] = f"127.0.0.1 {self._primary.port}"
        lines = [f"{name} {value}" if value else f'{name} ""' for name, value in given.items()]
        config = self._folder / "redis.conf"
        config.write_text("\n".join(lines) + "\n")
        with self._output.open("ab") as file:
            self.process = subprocess.Popen(
                [self._program, config], stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    def _wait(self, port: int, begun: int) -> bool:
        """Whether it answers, before it exits (another process took the port) or time is up.

        Its output from ``begun`` on says that it is this server that answers, and no other one.
        """
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                self.kill()
                return False
            if "Ready to accept connections" in self.output[begun:] and self._is_ready(port):
                return True
            time.sleep(0.01)
        return False

    def _is_ready(self, port: int) -> bool:
        with suppress(OSError):
            if self._primary is not None:
                linked = "master_link_status:up" in ask(port, "INFO replication")
                return linked and "state=online" in self._primary.command("INFO replication")
            # A server that asks for a password answers, too.
            return ask(port, "PING").startswith(("+PONG", "-NOAUTH"))
        return False

    def command(self, line: str) -> str:
        """The reply to a command without arguments that contain spaces, as it is on the wire."""
        return ask(self.port, line)

    def pause(self) -> None:
        """Stops the process where it is; its connections stay open."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kills it with SIGKILL, also while it is paused. Killing twice does nothing."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Ends it in order, by SIGTERM."""
        self.process.terminate()
        self.process.wait(PATIENCE)

    def restart(self) -> None:
        """Kills it, and starts it on the same port with what it has on disk."""
        self.kill()
        self.start()

    def promote(self) -> None:
        """Makes a replica a primary of its own."""
        assert self.command("REPLICAOF NO ONE").startswith("+OK")
        self._primary = None


def ask(port: int, line: str) -> str:
    """Sends one inline command on a connection of its own; returns the raw reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(line.encode() + b"\r\nQUIT\r\n")
        connection.settimeout(5)
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def program(kind: str) -> str:
    """The path of a kind of server. Raises AssertionError."""
    [server] = [each for each in SERVERS if each.variable == kind]
    found = find(server)
    assert found, f"there is no such Redis server; set {kind}, or run ./dev test"
    return os.fspath(found)

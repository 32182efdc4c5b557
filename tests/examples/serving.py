"""Runs an example as a user would: in a process of its own, reached over a loopback port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples"
STARTING = 30.0


class Service(NamedTuple):
    port: int
    process: subprocess.Popen[bytes]

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def chat(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/chat"


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what the examples look for, and with ``more``."""
    own = ("CHAT_", "OPENAI_", "ANTHROPIC_", "ADMIN_KEY", "PORT")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def script(
    path: str, *, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """``python PATH`` with ``PORT`` set; ``folder`` holds a copy of the example, where one does."""
    file, port = EXAMPLES / path, free_port()
    file = file if folder is None else folder / file.name
    with _running([sys.executable, file.name], file.parent, port, env or {}) as service:
        yield service


@contextmanager
def uvicorn(
    module: str,
    *options: str,
    folder: str = ".",
    env: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """``uvicorn MODULE:app OPTIONS`` in the example's folder."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", f"{module}:app", "--port", str(port), *options]
    with _running(command, EXAMPLES / folder, port, env or {}) as service:
        yield service


@contextmanager
def agentws(target: str, *options: str) -> Iterator[Service]:
    """``agentws run TARGET OPTIONS``, in the folder of the examples."""
    port = free_port()
    command = [sys.executable, "-m", "agentws.cli", "run", target, "--port", str(port), *options]
    with _running(command, EXAMPLES, port, {}) as service:
        yield service


@contextmanager
def _running(
    command: Sequence[str], cwd: Path, port: int, env: Mapping[str, str]
) -> Iterator[Service]:
    whole = environment(**{"PORT": str(port), **env})
    # In a group of its own, so that a reloader's children end with it.
    process = subprocess.Popen(command, cwd=cwd, env=whole, start_new_session=True)
    try:
        _await_listener(port, process)
        yield Service(port, process)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


def _await_listener(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTING
    while True:
        assert process.poll() is None, "the example ended before it listened"
        assert time.monotonic() < deadline, "the example does not listen"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.05)

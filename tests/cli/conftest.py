"""The command as its users meet it: a process of its own, at a terminal where they have one."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

PATIENCE = 30.0
COMMAND = [sys.executable, "-m", "agentws.cli"]
AGENTS = """
import asyncio
from agentws import Agent, AgentError, RunContext


class Echo(Agent):
    async def run(self, ctx: RunContext):
        if ctx.text == "fail":
            yield "half"
            raise AgentError("It broke.")
        if ctx.text == "slow":
            for number in range(100_000):
                yield f"{number} "
                await asyncio.sleep(0.01)
        for word in ctx.text.split():
            yield word + " "
"""


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTWS_")}
    root = str(Path(__file__).resolve().parents[2])
    return {**kept, "PYTHONPATH": root, "PYTHONUNBUFFERED": "1", **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agents.py").write_text(AGENTS)
    return tmp_path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Server:
    """``agentws run`` or ``demo``, which can be killed and started again."""

    def __init__(self, folder: Path, arguments: list[str], env: Mapping[str, str]) -> None:
        self.port = free_port()
        self.said = folder / "said.txt"
        self._folder = folder
        self._arguments = [*arguments, "--port", str(self.port)]
        self._env = environment(**env)
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def output(self) -> str:
        return self.said.read_text()

    def start(self) -> None:
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(
                [*COMMAND, *self._arguments],
                cwd=self._folder,
                env=self._env,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        wait_for(self.answers, lambda: self.output)

    def answers(self) -> bool:
        assert self.process.poll() is None, self.output
        try:
            with urllib.request.urlopen(self.url + "health", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self) -> int:
        """What Ctrl-C does; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


def wait_for(condition: Callable[[], bool], explain: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.02)


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*arguments: str, kind: type[Server] = Server, **env: str) -> Server:
        servers.append(kind(folder, list(arguments), env))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.kill()


class Terminal:
    """A command at a terminal: what it shows, and keys to press."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        without_echo = termios.tcgetattr(slave)
        without_echo[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, without_echo)
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(),
            start_new_session=True,
            preexec_fn=lambda: _take_terminal(slave),
        )
        os.close(slave)
        self.shown = ""
        self._read = 0

    def see(self, text: str) -> str:
        """Waits until ``text`` is shown after what was seen before; returns what led up to it."""
        deadline = time.monotonic() + PATIENCE
        while (at := self.shown.find(text, self._read)) < 0:
            assert time.monotonic() < deadline, f"{text!r} not in {self.shown[self._read :]!r}"
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._master, 65536).decode().replace("\r\n", "\n")
                except OSError:
                    raise AssertionError(f"{text!r} not in {self.shown!r} at its end") from None
        before, self._read = self.shown[self._read : at], at + len(text)
        return before

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait(self) -> int:
        """The exit code."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        os.close(self._master)


def _take_terminal(slave: int) -> None:
    """Makes it the controlling terminal, so that Ctrl-C typed there is a signal."""
    import fcntl

    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def command(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str, input: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=folder,
            env=environment(**env),
            input=input,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    return run

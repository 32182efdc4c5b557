"""The command in a process of its own, at a terminal where a user has one."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import processes

from . import forked

Command = Callable[..., subprocess.CompletedProcess[str]]
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
        if ctx.text == "umbruch":
            raise AgentError("Es ist zerbrochen: \u4f60\u597d")
        if ctx.text == "slow":
            for number in range(100_000):
                yield f"{number} "
                await asyncio.sleep(0.01)
        for word in ctx.text.split():
            yield word + " "
"""


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTWS_")}
    return {**kept, "PYTHONPATH": str(processes.ROOT), "PYTHONUNBUFFERED": "1", **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agents.py").write_text(AGENTS)
    return tmp_path


class Server(processes.Server):
    """``agentws run`` or ``demo``."""

    path = ""

    def __init__(self, folder: Path, arguments: list[str], env: Mapping[str, str]) -> None:
        super().__init__(
            *COMMAND[1:],
            *arguments,
            *("--port", "{port}"),
            folder=folder,
            output_file=folder / "output.txt",
            env=environment(**env),
        )

    @property
    def url(self) -> str:
        return f"http://{self.host}/{self.path}"

    def answers(self) -> bool:
        """Whether it serves: it prints its address before that."""
        return processes.is_healthy(self.url + "health")

    def interrupt(self) -> int:
        """Sends what Ctrl-C sends; returns the exit code."""
        return self.stop(signal.SIGINT)


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., Server]]:
    with ExitStack() as servers:

        def start(*arguments: str, kind: type[Server] = Server, **env: str) -> Server:
            return servers.enter_context(kind(folder, list(arguments), env))

        yield start


class Terminal:
    """A command at a terminal of that encoding: its output, and keys to press."""

    def __init__(self, *arguments: str, encoding: str = "utf-8", **env: str) -> None:
        self._encoding = encoding
        self._master, slave = pty.openpty()
        without_echo = termios.tcgetattr(slave)
        without_echo[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, without_echo)
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(**env),
            start_new_session=True,
            preexec_fn=lambda: _take_terminal(slave),
        )
        os.close(slave)
        self.shown = ""
        self._read = 0

    def see(self, text: str) -> str:
        """Waits until ``text`` is shown after the text seen last; returns the text between them."""
        deadline = time.monotonic() + PATIENCE
        while (at := self.shown.find(text, self._read)) < 0:
            assert time.monotonic() < deadline, f"{text!r} not in {self.shown[self._read :]!r}"
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    read = os.read(self._master, 65536)
                    self.shown += read.decode(self._encoding).replace("\r\n", "\n")
                except OSError:
                    raise AssertionError(f"{text!r} not in {self.shown!r} at its end") from None
        before, self._read = self.shown[self._read : at], at + len(text)
        return before

    def type(self, text: str) -> None:
        os.write(self._master, text.encode(self._encoding))

    def wait(self) -> int:
        """The exit code."""
        return self.process.wait(PATIENCE)

    def rest(self) -> str:
        """What is shown until all processes have closed the terminal."""
        while select.select([self._master], [], [], PATIENCE)[0]:
            try:
                self.shown += os.read(self._master, 65536).decode(self._encoding)
            except OSError:
                return self.shown[self._read :]
        raise AssertionError(f"a process still has the terminal: {self.shown!r}")

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

    def start(*arguments: str, **options: str) -> Terminal:
        opened.append(Terminal(*arguments, **options))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def command(folder: Path) -> Command:
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


@pytest.fixture
def forked_command(folder: Path) -> Command:
    """For tests that need no start of an interpreter."""

    def run(*arguments: str, input: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        variables = environment(**env)
        return forked.run([*arguments], folder, input=input, env=variables, patience=PATIENCE)

    return run

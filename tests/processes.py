"""Servers for tests, each in a process of its own: started, stopped, killed, restarted."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
_KILLED = 30.0
"""Seconds in which a killed process is gone, also on a busy machine."""
# The log lines of uvicorn and of the command line that contain the port.
_WHERE = re.compile(r"(?:running on|page) +http://[\w.]+:(\d+)")


class Server:
    """Runs ``PROGRAM ARGUMENTS`` in ``folder``; a context manager that starts and kills it.

    ``{port}`` in an argument or an environment variable is replaced by the port: 0 at the first
    start (the server chooses a free one and logs it), and the same port at every restart. The
    output goes to the file ``output_file``.
    """

    program = sys.executable
    base: Mapping[str, str] = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    patience = 30.0
    """Seconds that it may take to become ready, and to end in order."""

    def __init__(
        self, *arguments: str, folder: Path, output_file: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.port = 0
        self._arguments = arguments
        self._folder = folder
        self._output_file = output_file
        self._env = {**self.base, **(env or {})}

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        return self._output_file.read_text() if self._output_file.exists() else ""

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
        """Returns when it is ready; kills it and raises if it does not become ready."""
        before = len(self.output)
        filled = {"{port}": str(self.port)}
        with self._output_file.open("ab") as file:
            self.process = subprocess.Popen(
                [self.program, *(_fill(each, filled) for each in self._arguments)],
                cwd=self._folder,
                env={name: _fill(value, filled) for name, value in self._env.items()},
                stdout=file,
                stderr=file,
                # A process group of its own, so that a reloader's children are killed too.
                start_new_session=True,
            )
        try:
            self._wait(lambda: _WHERE.search(self.output, before) is not None)
            found = _WHERE.search(self.output, before)
            assert found is not None
            self.port = int(found[1])
            self._wait(self.answers)
        except BaseException:
            self.kill()
            raise

    def answers(self) -> bool:
        """Whether it is ready; called after it has logged its port."""
        return True

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.patience
        while not condition():
            assert self.process.poll() is None, f"the server exited: {self.output}"
            assert time.monotonic() < deadline, f"the server is not ready: {self.output}"
            time.sleep(0.02)

    def broadcast(self, content: str, *, key: str) -> None:
        """Sends a notice to everybody; returns when the gateway has accepted it."""
        request = urllib.request.Request(
            f"http://{self.host}/broadcast",
            data=json.dumps({"content": content}).encode(),
            headers={"X-API-Key": key, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 200

    def kill(self) -> None:
        """Kills its process group with SIGKILL, like a power failure."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_KILLED)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Sends the signal and returns the exit status. Resumes a suspended process first."""
        try:
            for each in (signal.SIGCONT, how):
                self.process.send_signal(each)
            return self.process.wait(self.patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server does not end: {self.output}") from None
        finally:
            self.kill()


def _fill(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def suspend(process: subprocess.Popen[bytes], database: Path) -> None:
    """Suspends the process (SIGSTOP) while it holds no lock of that SQLite file.

    Otherwise it would block all others, which is a limit of such a file.
    """
    deadline = time.monotonic() + 30.0
    # Another process that has the lock releases it within this timeout.
    with closing(sqlite3.connect(database, isolation_level=None, timeout=0.05)) as connection:
        while True:
            halt(process)
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
                return
            except sqlite3.OperationalError:
                process.send_signal(signal.SIGCONT)
                assert time.monotonic() < deadline, "the process held the lock every time"


def halt(process: subprocess.Popen[bytes]) -> None:
    """Returns when SIGSTOP has stopped the process."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


def is_running(pid: int) -> bool:
    """Whether the process lives. A zombie process has ended, too."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until(
    condition: Callable[[], bool], explain: Callable[[], str] = str, *, within: float = 30.0
) -> None:
    """Polls until the condition holds; raises AssertionError with ``explain()`` otherwise."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.02)


def is_healthy(url: str) -> bool:
    """Whether a gateway's health route at ``url`` answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False

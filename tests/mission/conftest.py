"""Services in processes of their own."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest

HERE = Path(__file__).parent
COMMANDS = {
    "uvicorn": ["-m", "uvicorn", "main:app", "--port", "0"],
    "preset": ["main.py", "0"],
}
_RUNNING = re.compile(r"running on http://127\.0\.0\.1:(\d+)")


class Service:
    """A running service."""

    def __init__(self, process: subprocess.Popen[str], lines: Queue[str]) -> None:
        self.process = process
        self.lines = lines
        self.base = f"127.0.0.1:{_port(lines)}"

    def kill(self) -> None:
        """As a machine that loses its power: nothing is said, nothing is finished."""
        self.process.kill()
        self.process.wait(timeout=20)


@contextmanager
def service(arguments: list[str]) -> Iterator[Service]:
    """Runs Python with these arguments; it must end well when told to, unless it was killed."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=HERE,
        env={"PYTHONPATH": str(HERE.parents[1]), "PATH": "/usr/bin:/bin"},
        stderr=subprocess.PIPE,
        text=True,
    )
    lines: Queue[str] = Queue()
    reader = threading.Thread(target=_read, args=(process, lines))
    reader.start()
    try:
        yield Service(process, lines)
    finally:
        process.terminate()
        status = process.wait(timeout=20)
        reader.join()
    said = "".join(lines.queue)
    assert status in (0, -9, -15), said
    assert "Traceback" not in said, said


@pytest.fixture(scope="module", params=list(COMMANDS))
def base(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the service is, once under plain uvicorn and once with the preset."""
    with service(COMMANDS[request.param]) as running:
        yield running.base


def _read(process: subprocess.Popen[str], lines: Queue[str]) -> None:
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            lines.put(line)
    lines.put("")


def _port(lines: Queue[str]) -> int:
    said = ""
    while line := lines.get(timeout=20):
        said += line
        found = _RUNNING.search(line)
        if found is not None:
            return int(found.group(1))
    raise AssertionError(f"the service did not start: {said}")

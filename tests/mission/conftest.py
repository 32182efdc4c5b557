"""The service in a process of its own, once under plain uvicorn and once with the preset."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest

HERE = Path(__file__).parent
COMMANDS = {
    "uvicorn": ["-m", "uvicorn", "main:app", "--port", "0"],
    "preset": ["main.py", "0"],
}
_RUNNING = re.compile(r"running on http://127\.0\.0\.1:(\d+)")


@pytest.fixture(scope="module", params=COMMANDS)
def base(request: pytest.FixtureRequest) -> Iterator[str]:
    """``127.0.0.1:port`` of a running service; it must end well when told to."""
    environment = {"PYTHONPATH": str(HERE.parents[1]), "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(
        [sys.executable, *COMMANDS[request.param]],
        cwd=HERE,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines: Queue[str] = Queue()
    reader = threading.Thread(target=_read, args=(process, lines))
    reader.start()
    try:
        yield f"127.0.0.1:{_port(lines)}"
    finally:
        process.terminate()
        status = process.wait(timeout=20)
        reader.join()
    said = "".join(lines.queue)
    assert status in (0, -15), said
    assert "Traceback" not in said, said


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

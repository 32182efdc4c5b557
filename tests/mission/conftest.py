"""Fixtures that run the services of this folder as processes."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import Server

HERE = Path(__file__).parent
COMMANDS = {
    "uvicorn": ["-m", "uvicorn", "main:app", "--port", "{port}"],
    "preset": ["main.py", "{port}"],
}


@contextmanager
def service(arguments: list[str]) -> Iterator[Server]:
    """Runs Python with these arguments; checks that it stops without an error, unless killed."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(
            *arguments,
            folder=HERE,
            output_file=Path(folder) / "output.txt",
            env={"PATH": "/usr/bin:/bin"},
        )
        with server:
            yield server
            status = server.stop()
        assert status in (0, -signal.SIGKILL, -signal.SIGTERM), server.output
        assert "Traceback" not in server.output, server.output


@pytest.fixture(scope="module", params=list(COMMANDS))
def base(request: pytest.FixtureRequest) -> Iterator[str]:
    """The ``host:port`` of ``main.py``, once under plain uvicorn and once with the preset."""
    with service(COMMANDS[request.param]) as running:
        yield running.host

"""Runs an example as a user would: in its own process, on a loopback port."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.processes import ROOT, Server

EXAMPLES = ROOT / "examples"


class Service(Server):
    base: Mapping[str, str] = {}

    @property
    def http(self) -> str:
        return f"http://{self.host}"

    @property
    def chat(self) -> str:
        return f"ws://{self.host}/ws/chat"

    def answers(self) -> bool:
        """Whether the port is open. With ``--reload``, another process opens it."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0):
                return True
        except OSError:
            return False


def environment(**more: str) -> dict[str, str]:
    """This process's environment without the variables that examples read, plus ``more``."""
    own = ("CHAT_", "OPENAI_", "ANTHROPIC_", "ADMIN_KEY", "PORT")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


@contextmanager
def script(
    path: str, *, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """``python PATH`` with ``PORT`` set, in ``folder`` if that holds a copy of the example."""
    file = EXAMPLES / path
    with _running([file.name], folder or file.parent, env or {}) as service:
        yield service


@contextmanager
def lan(folder: Path) -> Iterator[Service]:
    """The example in ``folder``, as if it were reached over a local network."""
    with _running(["lan.py", str(folder / "main.py")], Path(__file__).parent, {}) as service:
        yield service


@contextmanager
def uvicorn(
    module: str,
    *options: str,
    folder: str = ".",
    env: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """``uvicorn MODULE:app OPTIONS`` in the example's folder."""
    command = ["-m", "uvicorn", f"{module}:app", "--port", "{port}", *options]
    with _running(command, EXAMPLES / folder, env or {}) as service:
        yield service


@contextmanager
def agentws(target: str, *options: str) -> Iterator[Service]:
    """``agentws run TARGET OPTIONS``, in the folder of the examples."""
    command = ["-m", "agentws.cli", "run", target, "--port", "{port}", *options]
    with _running(command, EXAMPLES, {}) as service:
        yield service


@contextmanager
def _running(command: list[str], folder: Path, env: Mapping[str, str]) -> Iterator[Service]:
    whole = environment(**{"PORT": "{port}", **env})
    with tempfile.TemporaryDirectory() as output:
        service = Service(
            *command, folder=folder, output_file=Path(output) / "output.txt", env=whole
        )
        with service:
            yield service
            service.stop()

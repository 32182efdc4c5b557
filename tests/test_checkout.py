"""The README's quick start: in a fresh checkout ``./dev run`` serves the chat page."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from agentws.client import connect
from tests.processes import ROOT, Server, is_healthy

pytestmark = pytest.mark.timeout(180)
PIP_SETTINGS = (".config/pip/pip.conf", ".pip/pip.conf")


class Dev(Server):
    """Runs ``./dev run``, which creates its environment first."""

    program = "./dev"
    base: Mapping[str, str] = {}
    patience = 150.0

    def answers(self) -> bool:
        return is_healthy(f"http://{self.host}/health")


def copy_tracked(folder: Path) -> None:
    """Copies the tracked files, as they are in the working tree."""
    # git refuses a checkout that another user owns, as in a container that mounts it.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def pip_settings() -> dict[str, str]:
    """The machine's pip configuration and download cache, as environment variables."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    for file in (Path.home() / name for name in PIP_SETTINGS):
        if file.exists():
            settings.setdefault("PIP_CONFIG_FILE", str(file))
    command = [sys.executable, "-m", "pip", "cache", "dir"]
    cache = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return {**settings, "PIP_CACHE_DIR": cache}


def page_of(dev: Dev) -> str:
    with urllib.request.urlopen(f"http://{dev.host}/", timeout=5) as page:
        assert page.headers["Content-Type"].startswith("text/html")
        return str(page.read(), "utf-8")


def is_gone(group: int) -> bool:
    """Whether the process group has no process left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


async def test_dev_run_works_in_a_fresh_checkout_and_stops_cleanly(tmp_path: Path) -> None:
    checkout, home = tmp_path / "checkout", tmp_path / "home"
    home.mkdir()
    copy_tracked(checkout)
    path = os.pathsep.join([f"{sys.base_prefix}/bin", "/usr/bin", "/bin"])
    env = {"PATH": path, "HOME": str(home), **pip_settings()}
    output_file = tmp_path / "output.txt"
    with Dev("run", "--port", "{port}", folder=checkout, output_file=output_file, env=env) as dev:
        assert "<html" in page_of(dev)
        async with connect(f"ws://{dev.host}/ws/chat") as chat:
            assert await chat.ask("hello")
        dev.process.send_signal(signal.SIGINT)
        assert dev.process.wait(30) == 0, dev.output
        assert is_gone(dev.process.pid), "a process of ./dev run is left"
    assert "Traceback" not in dev.output, dev.output
    assert (checkout / ".data/demo.sqlite3").exists()

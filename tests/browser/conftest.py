"""A server in a process of its own, that can be killed, and pages of a real browser on it."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

SERVE = Path(__file__).with_name("serve.py")
ROOT = SERVE.parent.parent.parent
CHROMIUM = "/usr/bin/chromium"
START = 20.0


def chromium_path() -> str:
    """The browser that ``AGENTWS_CHROMIUM`` names, or the system's."""
    return os.environ.get("AGENTWS_CHROMIUM") or shutil.which("chromium") or CHROMIUM


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Server:
    """Always on the same port and the same database, so that a client finds it again."""

    def __init__(self, database: Path, *options: str) -> None:
        self.port = free_port()
        self._arguments = [str(SERVE), str(self.port), str(database), *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen([sys.executable, *self._arguments], env=environment)
        deadline = time.monotonic() + START
        while not self._answers():
            assert self._process.poll() is None, "the server ended at once"
            assert time.monotonic() < deadline, "the server did not answer in time"
            time.sleep(0.05)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """Without a goodbye."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = Server(tmp_path / "sessions.sqlite3")
    one.start()
    yield one
    one.stop()


@pytest.fixture
def locked_server(tmp_path: Path) -> Iterator[Server]:
    """One that asks for the key ``sesame``."""
    one = Server(tmp_path / "locked.sqlite3", "sesame")
    one.start()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(
            executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu"]
        )
        yield one
        one.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    one = browser.new_context(reduced_motion="reduce")
    one.set_default_timeout(20_000)
    yield one
    one.close()


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the browser's console said of a page; the policy's violations among it."""
    said: list[str] = []
    yield said
    serious = [text for text in said if "ERR_" not in text and "WebSocket" not in text]
    assert serious == []


@pytest.fixture
def open_page(
    server: Server, context: BrowserContext, complaints: list[str]
) -> Callable[..., Page]:
    """Opens the chat page in a tab of its own, connected."""

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def opened(url: str | None = None) -> Page:
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url or server.url)
        page.wait_for_selector("#connection[data-state=open]")
        return page

    return opened

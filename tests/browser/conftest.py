"""Fixtures: a server in its own process, which tests can kill, and pages of a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests import processes

from .talking import OpenPage

HERE = Path(__file__).parent
PATIENCE = 20_000
"""Milliseconds."""


class Server(processes.Server):
    """Every start uses the same database, so that a client finds its sessions again."""

    def __init__(self, folder: Path, *options: str, database: str | None = None) -> None:
        database = database or str(folder / "sessions.sqlite3")
        output_file = folder / "output.txt"
        super().__init__(
            "serve.py", "{port}", database, *options, folder=HERE, output_file=output_file
        )

    @property
    def url(self) -> str:
        return f"http://{self.host}/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Tests share it: each has sessions and a browser's memory of its own."""
    with Server(tmp_path_factory.mktemp("server")) as one:
        yield one


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that the test may stop."""
    with Server(tmp_path) as one:
        yield one


@pytest.fixture
def locked_server(tmp_path: Path) -> Iterator[Server]:
    """A server that asks for the key ``sesame``."""
    with Server(tmp_path, "sesame") as one:
        yield one


@pytest.fixture
def forgetful_server(tmp_path: Path) -> Iterator[Server]:
    """A server that keeps its sessions in memory, and loses them with its process."""
    with Server(tmp_path, database="memory") as one:
        yield one


@pytest.fixture(scope="session", autouse=True)
def patience() -> None:
    """A busy machine may need longer than the default of five seconds to show what is expected."""
    expect.set_options(timeout=PATIENCE)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    one = browser.new_context(reduced_motion="reduce")
    one.set_default_timeout(PATIENCE)
    yield one
    one.close()


@pytest.fixture
def console_errors() -> Iterator[list[str]]:
    """Errors and warnings of the browser's console, with violations of the page's policy."""
    messages: list[str] = []
    yield messages
    serious = [text for text in messages if "ERR_" not in text and "WebSocket" not in text]
    assert serious == []


@pytest.fixture
def open_tab(context: BrowserContext, console_errors: list[str]) -> Callable[[str], Page]:
    """Opens a chat page in a new tab and waits until it is connected."""

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            console_errors.append(message.text)

    def opened(url: str) -> Page:
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: console_errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#connection[data-state=open]")
        return page

    return opened


@pytest.fixture
def open_page(server: Server, open_tab: Callable[[str], Page]) -> OpenPage:
    """Opens a page of ``server``, the first one unless a URL says otherwise."""
    return lambda url=server.url: open_tab(url)


@pytest.fixture
def chat(open_tab: Callable[[str], Page], tmp_path: Path) -> Iterator[Page]:
    """A page of a server with files, and agents that write until they are stopped."""
    output_file = tmp_path / "composing.txt"
    program = ("serve_composing.py", "{port}")
    with processes.Server(*program, folder=HERE, output_file=output_file) as server:
        yield open_tab(f"http://{server.host}/")


@pytest.fixture
def clerk(open_tab: Callable[[str], Page], tmp_path: Path) -> Iterator[Page]:
    """A page of a server whose agent asks, calls tools and shows parts."""
    database, output_file = str(tmp_path / "clerk.sqlite3"), tmp_path / "clerk.txt"
    program = ("serve_clerk.py", "{port}", database)
    with processes.Server(*program, folder=HERE, output_file=output_file) as server:
        yield open_tab(f"http://{server.host}/")

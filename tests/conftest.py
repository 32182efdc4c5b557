"""Fixtures for every test: the event loop, the browser, the length of random schedules."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.watchdog import Watchdog

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.servers.postgres import PostgresServer

LAN = "lan.test"
"""A host name whose pages over plain http are not a secure context, as in a local network."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser that ``AGENTWS_CHROMIUM`` names, or the one on PATH; resolves ``LAN`` to this
    machine.
    """
    # Imported here, as the import is slow and most tests need no browser.
    from playwright.sync_api import expect, sync_playwright

    # A busy machine may need longer than the default of five seconds to show what is expected.
    expect.set_options(timeout=20_000)
    chromium = os.environ.get("AGENTWS_CHROMIUM") or shutil.which("chromium")
    assert chromium, "there is no Chromium; set AGENTWS_CHROMIUM"
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", f"--host-resolver-rules=MAP {LAN} 127.0.0.1"],
        )
        yield one
        one.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that all tests share: each makes a schema of its own in it."""
    # Imported here, as most tests need no server.
    from tests.servers.postgres import PostgresServer

    with PostgresServer() as server:
        yield server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak",
        type=float,
        default=1.0,
        metavar="TIMES",
        help="run the random schedules this many times as often",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Watchdog())
    # Hypothesis generates the same examples in every run, so that a failure can be repeated. A soak
    # generates new ones.
    times = config.getoption("--soak")
    examples = max(1, int(settings().max_examples * times))
    # No deadline: how long an example takes says more about the machine than about the code.
    settings.register_profile(
        "soak", max_examples=examples, derandomize=times <= 1.0, deadline=None
    )
    settings.load_profile("soak")


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A process of pytest-xdist sends its reports as UTF-8, and some tests log lone surrogates."""
    return encodable((yield))


def encodable(value: Any) -> Any:
    """``value`` with its lone surrogates as text that names them."""
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case dict():
            return {key: encodable(one) for key, one in value.items()}
        case list() | tuple():
            return type(value)(map(encodable, value))
        case _:
            return value


@pytest.fixture(scope="session")
def soak(pytestconfig: pytest.Config) -> float:
    return float(pytestconfig.getoption("--soak"))

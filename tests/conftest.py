"""What every test shares: the loop it runs on, and how long the random schedules may go on."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak",
        type=float,
        default=1.0,
        metavar="TIMES",
        help="run the random schedules this many times as often",
    )


@pytest.fixture(scope="session")
def soak(pytestconfig: pytest.Config) -> float:
    return float(pytestconfig.getoption("--soak"))

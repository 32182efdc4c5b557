"""A database, and two buses over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from agentws.backends.sqlite.bus import SQLiteBus

from .buses import opened


@pytest.fixture
def path() -> Iterator[Path]:
    """With a short path, which the address of a socket beside it takes."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "chat.sqlite3"
        path.touch()
        yield path


@pytest.fixture
async def bus(path: Path) -> AsyncIterator[SQLiteBus]:
    async with opened(path) as bus:
        yield bus


@pytest.fixture
async def peer(path: Path, bus: SQLiteBus) -> AsyncIterator[SQLiteBus]:
    async with opened(path) as peer:
        yield peer

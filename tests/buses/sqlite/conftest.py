"""A database, and two buses over it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentws.backends.sqlite.bus import SQLiteBus

from .buses import opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "chat.sqlite3"
    path.touch()
    return path


@pytest.fixture
async def bus(path: Path) -> AsyncIterator[SQLiteBus]:
    async with opened(path) as bus:
        yield bus


@pytest.fixture
async def peer(path: Path, bus: SQLiteBus) -> AsyncIterator[SQLiteBus]:
    async with opened(path) as peer:
        yield peer

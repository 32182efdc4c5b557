"""Tests whose clock is the loop's own, and jumps over whatever is only waited for.

A module or a folder's conftest takes the fixture in:
``from tests.virtual import anyio_backend as anyio_backend``.
"""

from __future__ import annotations

import pytest

from agentws.testing.virtual import VirtualLoop


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualLoop}

"""Virtual time for tests: the clock of the loop jumps to the next timer instead of waiting.

A module or a folder's conftest imports the fixture:
``from tests.virtual import anyio_backend as anyio_backend``.
"""

from __future__ import annotations

import pytest

from agentws.testing.virtual import VirtualLoop


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualLoop}

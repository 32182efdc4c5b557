from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from agentws.testing.virtual import VirtualLoop

from .world import World, world

Make = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": VirtualLoop}


@pytest.fixture(params=[1, 2], ids=["one node", "two nodes, no bus"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes the world that a test runs in."""
    return partial(world, count=request.param)

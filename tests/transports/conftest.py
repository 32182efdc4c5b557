from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest

from tests.virtual import anyio_backend as anyio_backend

from .world import World, world

Make = Callable[..., AbstractAsyncContextManager[World]]


WORLDS: dict[str, dict[str, Any]] = {
    "one node": {"count": 1},
    "frames": {"count": 1, "direct": True},
    "two nodes, no bus": {"count": 2},
}


@pytest.fixture(params=list(WORLDS.values()), ids=list(WORLDS))
def make(request: pytest.FixtureRequest) -> Make:
    """Makes the world that a test runs in."""
    return partial(world, **request.param)

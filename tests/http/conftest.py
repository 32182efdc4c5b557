from __future__ import annotations

from collections.abc import Iterator

import pytest

from .calling import Nodes


@pytest.fixture(scope="module", params=[1, 2], ids=["one node", "two nodes, no bus"])
def nodes(request: pytest.FixtureRequest) -> Iterator[None]:
    """What asks for it passes on one node, and on two where the bell never rings."""
    Nodes.count = request.param
    yield
    Nodes.count = 1

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .calling import Nodes


@pytest.fixture(scope="module", params=[1, 2], ids=["one node", "two nodes, no bus"])
def nodes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs a test on one node, and on two nodes whose bus loses every ring."""
    Nodes.count = request.param
    yield
    Nodes.count = 1

from __future__ import annotations

import pytest

from .wires import WIRES, Connect


@pytest.fixture(params=list(WIRES))
def connect(request: pytest.FixtureRequest) -> Connect:
    return WIRES[request.param]

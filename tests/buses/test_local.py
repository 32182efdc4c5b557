from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agentws.backends.local import LocalBus
from agentws.testing.contracts import BusContract


class TestLocalBus(BusContract):
    @pytest.fixture
    async def bus(self) -> AsyncIterator[LocalBus]:
        bus = LocalBus()
        await bus.open()
        yield bus
        await bus.close()

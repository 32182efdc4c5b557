from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agentws.backends.memory import MemoryStore
from agentws.testing.contracts import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[MemoryStore]:
        store = MemoryStore()
        await store.open()
        yield store
        await store.close()

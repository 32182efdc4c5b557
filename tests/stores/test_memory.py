from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agentws.backends.memory import MemoryStore
from agentws.store import Store
from agentws.testing.contract_base import every_call
from agentws.testing.contracts import SearchContract, StoreContract


def test_the_contract_calls_every_method_of_the_port() -> None:
    optional = {"open", "close", "ping", "maintain", "load"}
    calls = every_call(MemoryStore(), "s").keys()
    assert calls - optional == Store.__abstractmethods__


class TestMemoryStore(StoreContract, SearchContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[MemoryStore]:
        store = MemoryStore()
        await store.open()
        yield store
        await store.close()

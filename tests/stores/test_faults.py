"""The faulty stores: transparent without faults, and exact with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import pytest

from agentws.backends.memory import MemoryStore
from agentws.errors import StorageFull, Unavailable
from agentws.store import Key
from agentws.testing.contract_base import begin, event, events, eventually
from agentws.testing.contracts import StoreContract
from agentws.testing.faults import FaultyStore, SlowStore, WrappedStore

T = TypeVar("T")


class TestFaultyStoreWithoutFaults(StoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[FaultyStore]:
        yield FaultyStore(MemoryStore())


class TestSlowStore(StoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[SlowStore]:
        yield SlowStore(MemoryStore())


class TimedStore(WrappedStore):
    """Has a timeout for each call, as a store over a network does; that needs a task."""

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        async with asyncio.timeout(30):
            return await call()


class TestTimedStore(StoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[TimedStore]:
        yield TimedStore(MemoryStore())


async def test_a_faulty_store_fails_the_given_number_of_times() -> None:
    store = FaultyStore(MemoryStore(), fail_on="append", times=2, error=StorageFull)
    session = await begin(store)
    for _ in range(2):
        with pytest.raises(StorageFull):
            await store.append(session, [event(1)])
    assert (await store.append(session, [event(1)])).position.seq == 1
    assert store.calls["append"] == 3


async def test_a_faulty_store_fails_until_it_is_healed() -> None:
    store = FaultyStore(MemoryStore())
    session = await begin(store)
    store.fail({"read", "head"})
    for _ in range(3):
        with pytest.raises(Unavailable):
            await store.read(session)
        with pytest.raises(Unavailable):
            await store.head(session)
    store.heal()
    assert list(await store.read(session)) == []


async def test_a_faulty_store_can_lose_the_acknowledgement_of_an_append() -> None:
    store = FaultyStore(MemoryStore(), fail_on="append", after=True)
    session = await begin(store)
    with pytest.raises(Unavailable):
        await store.append(session, events(1, 2), key=Key("m1", "d1"))
    again = await store.append(session, events(1, 2), key=Key("m1", "d1"))
    assert (again.duplicate, again.position.seq) == (True, 2)


async def test_a_slow_store_can_be_paused_and_resumed() -> None:
    store = SlowStore(MemoryStore(), slow_on="append")
    session = await begin(store)
    store.pause()
    append = asyncio.ensure_future(store.append(session, [event(1)]))

    async def held() -> bool:
        return store.waiting == 1

    await eventually(held)
    assert list(await store.read(session)) == []
    store.resume()
    await append
    assert len(await store.read(session)) == 1


def test_a_wrapped_store_has_the_scope_and_durability_of_the_inner_one() -> None:
    store = FaultyStore(MemoryStore())
    assert (store.scope, store.durability) == ("process", "process")


def test_only_a_store_that_never_waits_is_immediate() -> None:
    assert MemoryStore().immediate
    assert not FaultyStore(MemoryStore()).immediate
    assert not SlowStore(MemoryStore()).immediate

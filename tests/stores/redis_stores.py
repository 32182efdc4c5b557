"""Redis stores for tests: under the contract, opened on a server, asked until it has recovered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any, TypeVar

import pytest

from agentws.backends.redis import RedisStore
from agentws.errors import Unavailable
from agentws.testing.contract_base import eventually
from agentws.testing.contracts import StoreContract
from tests.servers.redis import RedisServer

T = TypeVar("T")


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, **options)
    # A test may give a timeout that is short for a server that fails, and for a machine that is
    # busy, too.
    await recovered(store.open)
    try:
        yield store
    finally:
        await store.close()


async def recovered(call: Callable[[], Awaitable[T]]) -> T:
    """The result of ``call``, which is made again while the store is unavailable."""

    async def attempt() -> tuple[T] | None:
        try:
            return (await call(),)
        except Unavailable:
            return None

    return (await eventually(attempt))[0]


class RedisStoreTests(StoreContract):
    """The contract on the fixture ``server``; each test has a namespace of its own in it."""

    @pytest.fixture
    async def store(self, server: RedisServer) -> AsyncIterator[RedisStore]:
        async with opened(server.url, namespace=token_hex(8)) as store:
            yield store

    @pytest.fixture
    async def peer(self, server: RedisServer, store: RedisStore) -> AsyncIterator[RedisStore]:
        async with opened(server.url, namespace=store._servers.namespace) as peer:
            yield peer

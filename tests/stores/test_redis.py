"""The Redis store fulfils the contract on each kind of server, also with two stores on one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from secrets import token_hex

import pytest

from agentws.backends.redis import RedisStore
from agentws.testing.contracts import StoreContract
from tests.servers.redis import KINDS, RedisServer


@pytest.fixture(scope="module", params=KINDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), kind=request.param) as server:
        yield server


class TestRedisStore(StoreContract):
    @pytest.fixture
    async def store(self, server: RedisServer) -> AsyncIterator[RedisStore]:
        store = RedisStore(server.url, namespace=token_hex(8))
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    async def peer(self, server: RedisServer, store: RedisStore) -> AsyncIterator[RedisStore]:
        peer = RedisStore(server.url, namespace=store._servers.namespace)
        await peer.open()
        yield peer
        await peer.close()

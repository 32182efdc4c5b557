"""The Redis bus fulfils the contract between two nodes, and survives lost connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from secrets import token_hex

import pytest

from agentws.backends.redis import RedisBus
from agentws.testing.contracts import BusContract
from tests.servers.redis import KINDS, RedisServer


@pytest.fixture(scope="module", params=KINDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), kind=request.param) as server:
        yield server


@pytest.fixture
def namespace() -> str:
    return token_hex(8)


class TestRedisBus(BusContract):
    @pytest.fixture
    async def bus(self, server: RedisServer, namespace: str) -> AsyncIterator[RedisBus]:
        bus = RedisBus(server.url, namespace=namespace)
        await bus.open()
        yield bus
        await bus.close()

    @pytest.fixture
    async def peer(
        self, server: RedisServer, namespace: str, bus: RedisBus
    ) -> AsyncIterator[RedisBus]:
        peer = RedisBus(server.url, namespace=namespace)
        await peer.open()
        yield peer
        await peer.close()

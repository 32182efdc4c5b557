"""The Redis bus fulfils the contract between two nodes, and survives lost connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from secrets import token_hex

import pytest

from agentws.backends.redis import RedisBus
from agentws.bus import GAP
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


async def test_buses_of_different_databases_do_not_hear_each_other(
    server: RedisServer, namespace: str
) -> None:
    """A broadcast of one application would reach the clients of another one."""
    urls = [f"redis://127.0.0.1:{server.port}/{database}" for database in (0, 3, 3)]
    first, second, third = buses = [RedisBus(url, namespace=namespace) for url in urls]
    heard: dict[RedisBus, list[bytes]] = {bus: [] for bus in buses}

    def listener(bus: RedisBus) -> Callable[[str, bytes], None]:
        def hear(channel: str, payload: bytes) -> None:
            if payload != GAP:
                heard[bus].append(payload)

        return hear

    for bus in buses:
        bus.subscribe("notices", listener(bus))
        await bus.open()
    async with asyncio.timeout(10):
        while not heard[third]:
            # Until the subscription has reached the server, a message is lost.
            first.publish("notices", b"of another application")
            second.publish("notices", b"last")
            await asyncio.sleep(0.05)
    assert set(heard[first]) == {b"of another application"}
    assert set(heard[third]) == {b"last"}
    for bus in buses:
        await bus.close()

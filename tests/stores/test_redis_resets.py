"""A Redis whose connections are reset, on uvloop, which reports that by errors of its own."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
import uvloop

from agentws.backends.redis import RedisStore
from agentws.errors import Unavailable
from agentws.store import SessionInfo, Store
from agentws.testing.proxy import FaultProxy
from tests.servers.redis import RedisServer
from tests.stores.redis_stores import recovered

SESSION = "a-session-of-resets"
NOTHING = b'{"event":{"type":"nothing.happened"}}'


def test_a_store_and_its_bus_go_on_after_any_reset_of_their_connections(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        uvloop.run(resets(server.port))


async def resets(port: int) -> None:
    chance = random.Random(1)
    async with FaultProxy(port) as proxy, asyncio.timeout(40):
        store = RedisStore(f"redis://{proxy.host}/0")
        await store.open()
        bus = store.default_bus()
        assert bus is not None
        await bus.open()
        heard: list[bytes] = []
        bus.subscribe("bell", lambda channel, payload: heard.append(payload))
        await store.create(SessionInfo(id=SESSION, agent="a", created=0, updated=0), epoch="e")
        for number in range(40):
            calls = [asyncio.create_task(store.append(SESSION, [NOTHING])) for _ in range(4)]
            bus.publish("bell", b"ring")
            await asyncio.sleep(chance.choice((0, 0, 0.0005, 0.002)))
            proxy.reset()
            if number % 2:
                calls.append(asyncio.create_task(store.append(SESSION, [NOTHING])))
            done = await asyncio.gather(*calls, return_exceptions=True)
            errors = [one for one in done if isinstance(one, BaseException)]
            assert all(isinstance(one, Unavailable) for one in errors), errors
            await until_answered(store)
        heard.clear()
        while not heard:
            bus.publish("bell", b"ring")
            await asyncio.sleep(0.05)
        proxy.reset()
        await bus.close()
        await store.close()


async def until_answered(store: Store) -> None:
    while True:
        try:
            return await store.ping()
        except Unavailable:
            await asyncio.sleep(0.01)


async def test_a_store_closes_although_a_call_was_cancelled_that_it_had_not_sent(
    tmp_path: Path,
) -> None:
    with RedisServer(tmp_path) as server:
        async with FaultProxy(server.port) as proxy:
            store = RedisStore(f"redis://{proxy.host}/0", timeout=1.0)
            await recovered(store.open)
            proxy.blackhole()
            sent = asyncio.create_task(store.append(SESSION, [NOTHING]))
            await asyncio.sleep(0.05)
            waiting = asyncio.create_task(store.append(SESSION, [NOTHING]))
            await asyncio.sleep(0.05)
            closing = asyncio.create_task(store.close())
            waiting.cancel()
            async with asyncio.timeout(10):
                await closing
            with pytest.raises(Unavailable):
                await sent

"""How many connections there may be, in all, by address and by identity."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentws.testing.agents import Script
from agentws.testing.connect import Client, kind

from .callers import KEYS, end_of
from .conftest import Make

LIMITS = [
    ("max_connections", 4503, {}),
    ("max_connections_per_address", 4429, {}),
    ("max_connections_per_identity", 4429, {"authenticate": KEYS}),
]


@pytest.mark.parametrize(("limit", "code", "options"), LIMITS, ids=[one[0] for one in LIMITS])
async def test_a_connection_beyond_a_limit_is_refused(
    make: Make, limit: str, code: int, options: dict[str, Any]
) -> None:
    async with make(Script("fine"), **{limit: 3}, **options) as world:
        app = world.apps[0]

        async def enter() -> Client:
            client = await Client(app, token="key-a").open()
            world.clients.append(client)
            return client

        clients = [await enter() for _ in range(3)]
        for client in clients:
            assert (await client.receive())["type"] == "welcome"
        for _ in range(3):
            refused = await enter()
            assert (await refused.wait_closed()).code == code
            assert (refused.frames[-1]["type"], refused.frames[-1]["retryable"]) == ("bye", True)
        clients[0].drop()
        await clients[0].line.wait_closed()
        assert kind(await (await enter()).receive()) == "welcome"


@pytest.mark.parametrize(("limit", "code", "options"), LIMITS, ids=[one[0] for one in LIMITS])
async def test_a_burst_of_handshakes_does_not_exceed_a_limit(
    make: Make, limit: str, code: int, options: dict[str, Any]
) -> None:
    """A connection is counted before the first await, and released if it is refused."""

    async def slow(*_: object) -> bool:
        await asyncio.sleep(0.1)
        return True

    async with make(Script("fine"), **{limit: 5}, authorize=slow, **options) as world:
        app = world.apps[0]
        for _ in range(2):
            clients = [Client(app, token="key-a") for _ in range(40)]
            await asyncio.gather(*(client.open() for client in clients))
            await asyncio.sleep(1)
            for client in clients:
                client.take_waiting()
            welcomed = [one for one in clients if one.frames[0]["type"] == "welcome"]
            assert len(welcomed) == 5
            assert {one.closed.code for one in clients if one.closed} == {code}
            for client in clients:
                await client.aclose()


async def test_a_refused_handshake_does_not_count_against_the_limit(make: Make) -> None:
    async with make(Script("fine"), authorize=lambda *_: False, max_connections=1) as world:
        for _ in range(5):
            assert (await end_of(await world.client())).code == 4403

"""Memory of connections after the client has gone."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.runs import engine
from agentws.runs.leased import LeasedSession
from agentws.testing.agents import Script
from agentws.testing.connect import connect, running
from agentws.transports.connection import Connection
from tests.limits import limits


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held(kind: type) -> int:
    return sum(type(one) is kind for one in gc.get_objects())


async def test_a_closed_connection_is_freed_without_the_garbage_collector(
    no_collector: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs seldom under load, and garbage that waits for it fragments the memory."""
    monkeypatch.setattr(engine, "LINGER", 0.0)
    app = Starlette()
    mount_agent_gateway(app, Script("fine"), limits=limits())
    before = held(Connection), held(LeasedSession)
    async with running(app):
        for _ in range(3):
            async with connect(app) as client:
                await client.say("go", "m1")
                await client.answer()
        del client
        await asyncio.sleep(0.5)
        assert (held(Connection), held(LeasedSession)) == before

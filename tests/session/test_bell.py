"""Ringing the bell: an append publishes on the bus where other nodes may share the store."""

from __future__ import annotations

import time

import pytest

from agentws import Limits
from agentws.backends.local import LocalBus
from agentws.backends.memory import MemoryStore
from agentws.protocol import events as e
from agentws.sessions.registry import Sessions
from agentws.testing.faults import LossyBus


@pytest.mark.parametrize(("gateways", "rung"), [(1, 0), (2, 1)])
async def test_an_append_rings_only_where_another_gateway_shares_the_store(
    gateways: int, rung: int
) -> None:
    store, bus = MemoryStore(), LossyBus(LocalBus(), drop=0.0)
    for _ in range(gateways):
        await store.open()
    sessions = Sessions(store=store, bus=bus, limits=Limits(), clock=time.time)
    sessions.on_open = lambda session: None
    session, _ = await sessions.enter(None, owner=None, agent="default")
    await session.append([e.NoticePosted("hello", "info")])
    assert bus.published == rung
    await sessions.aclose()

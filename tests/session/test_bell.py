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


@pytest.mark.parametrize(
    "payload", [b"", b"-1", b"\xff" * 9, b"9" * 5000, b'{"seq":', b"\x80\x04."]
)
async def test_garbage_on_the_bus_is_at_most_a_reason_to_read(payload: bytes) -> None:
    store, bus = MemoryStore(), LocalBus()
    await store.open()
    sessions = Sessions(store=store, bus=bus, limits=Limits(), clock=time.time)
    sessions.on_open = lambda session: None
    session, _ = await sessions.enter(None, owner=None, agent="default")
    heard: list[bytes] = []
    bus.subscribe(f"s:{session.id}", lambda channel, given: heard.append(given))
    bus.publish(f"s:{session.id}", payload)
    assert heard == [payload]
    await session.append([e.NoticePosted("hello", "info")])
    await sessions.aclose()

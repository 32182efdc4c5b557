"""Messages to all connections of a node: broadcast notices, and goodbyes during a drain."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import Limits, LocalBus, MemoryStore, mount_agent_gateway
from agentws.bus import Bus
from agentws.errors import NotSupported
from agentws.gateway.broadcasts import CHANNEL, Broadcasts
from agentws.gateway.counting import Counting
from agentws.protocol.events import NoticePosted
from agentws.protocol.frames import ControlFrame, Notice
from agentws.protocol.wires.native import NativeEncoder
from agentws.protocol.wires.wire import Encoder
from agentws.sessions.topics import Topics
from agentws.store import Node
from agentws.tasks.tasks import Tasks
from agentws.testing.agents import Script
from agentws.testing.connect import connect, running
from agentws.transports.connections import CLOSE_TIMEOUT, PAUSE, SLICE, Connections
from agentws.transports.feeds import Feeds
from agentws.transports.service import Reach
from tests.virtual import anyio_backend as anyio_backend


class CountingEncoder(NativeEncoder):
    """Counts the control frames that it encodes."""

    encoded = 0

    def control(self, frame: ControlFrame) -> bytes | None:
        self.encoded += 1
        return super().control(frame)


class FakePeer:
    session: Any = None

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.notices: list[str] = []
        self.closing = False
        self.told_at: float | None = None

    def send_frames(self, parts: Sequence[bytes]) -> None:
        self.notices += [json.loads(part)["content"] for part in parts]

    def close_for_restart(self, retry_after: float) -> None:
        self.closing = True
        self.told_at = asyncio.get_running_loop().time()


def crowd_with(encoders: Sequence[Encoder]) -> tuple[Connections, list[FakePeer]]:
    limits = Limits(max_connections_per_address=10**6, max_connections=10**6)
    connections = Connections(limits, Tasks())
    peers = [FakePeer(encoder) for encoder in encoders]
    for peer in peers:
        connections.add(peer, connections.admit(owner=None, address="here"))
    return connections, peers


def crowd(count: int) -> tuple[Connections, list[FakePeer]]:
    return crowd_with([NativeEncoder()] * count)


def broadcasts(bus: Bus, connections: Connections, *, node: str) -> Broadcasts:
    """Those of a node whose store does not know the nodes."""
    tasks = Tasks()
    topics = Topics(store=NodelessStore(), bus=bus, limits=Limits(), clock=time.time)
    return Broadcasts(
        bus=bus,
        connections=connections,
        feeds=Feeds(topics, tasks),
        counting=Counting(store=NodelessStore(), bus=bus, node=node),
        tasks=tasks,
        node=node,
        max_size=1000,
    )


class NodelessStore(MemoryStore):
    """Does not know its nodes, and may be shared."""

    exclusive = False

    async def nodes(self) -> Sequence[Node]:
        raise NotSupported()


def notice(content: str) -> Notice:
    return Notice(content=content, level="info")


async def test_each_of_several_broadcasts_counts_its_own_peers() -> None:
    connections, peers = crowd(3 * SLICE)
    first, second = (
        connections.announce(notice("one")),
        connections.announce(notice("two")),
    )
    await asyncio.sleep(0)
    third = connections.announce(notice("three"))
    assert [await each for each in (first, second, third)] == [3 * SLICE] * 3
    assert all(peer.notices == ["one", "two", "three"] for peer in peers)


async def test_a_broadcast_is_encoded_once_for_connections_that_share_an_encoder() -> None:
    shared, own = CountingEncoder(), CountingEncoder()
    connections, peers = crowd_with([shared] * SLICE * 2 + [own])
    assert await connections.announce(notice("one")) == 2 * SLICE + 1
    assert (shared.encoded, own.encoded) == (1, 1)
    assert all(peer.notices == ["one"] for peer in peers)


async def test_a_broadcast_skips_a_connection_that_is_closing() -> None:
    connections, peers = crowd(3)
    peers[1].closing = True
    assert await connections.announce(notice("one")) == 2
    assert peers[1].notices == []


async def test_a_cancelled_broadcast_does_not_delay_the_next() -> None:
    connections, peers = crowd(2 * SLICE)
    cut = connections.announce(notice("one"))
    await asyncio.sleep(0)
    cut.cancel()
    assert await connections.announce(notice("two")) == 2 * SLICE
    assert peers[-1].notices == ["two"]


async def test_overlapping_broadcasts_reach_every_connection() -> None:
    app = Starlette()
    gateway = mount_agent_gateway(app, Script("fine"))
    async with running(app), connect(app) as one, connect(app) as two:
        await one.until("welcome")
        await two.until("welcome")
        assert await asyncio.gather(*(gateway.broadcast(f"{n}") for n in range(5))) == [2] * 5


async def test_a_broadcast_reaches_the_connections_of_every_node_once() -> None:
    bus = LocalBus()
    nodes = [crowd(1) for _ in range(2)]
    first, second = (
        broadcasts(bus, connections, node=f"node{number}")
        for number, (connections, _) in enumerate(nodes)
    )
    first.subscribe()
    second.subscribe()
    assert await first.send(NoticePosted("one", "info")) == Reach(2, nodes=2)
    await asyncio.sleep(0.1)
    second.unsubscribe()
    await first.send(NoticePosted("two", "info"))
    await asyncio.sleep(0.1)
    assert [peer.notices for _, peers in nodes for peer in peers] == [["one", "two"], ["one"]]


async def test_a_broadcast_of_another_node_that_can_not_be_decoded_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = LocalBus()
    connections, (peer,) = crowd(1)
    broadcasts(bus, connections, node="here").subscribe()
    bus.publish(CHANNEL, b'{"node":"elsewhere","notice":')
    await asyncio.sleep(0.1)
    assert peer.notices == [] and "could not be decoded" in caplog.text


async def test_goodbyes_are_spread_in_time_against_a_reconnect_storm() -> None:
    connections, peers = crowd(4 * SLICE)
    begun = asyncio.get_running_loop().time()
    await connections.close_all()
    times = sorted({round(peer.told_at - begun, 6) for peer in peers if peer.told_at is not None})
    assert times == [round(PAUSE * turn, 6) for turn in range(4)]


async def test_goodbyes_to_very_many_connections_take_a_bounded_time() -> None:
    connections, _ = crowd(200 * SLICE)
    begun = asyncio.get_running_loop().time()
    await connections.close_all()
    assert asyncio.get_running_loop().time() - begun <= Limits().drain_window + CLOSE_TIMEOUT + 0.01


async def test_a_goodbye_waits_until_peers_have_disconnected() -> None:
    connections, peers = crowd(2)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for at, peer in enumerate(peers, start=1):
        loop.call_later(0.1 * at, connections.discard, peer)
    await connections.close_all()
    assert loop.time() - begun == pytest.approx(0.2)
    await connections.close_all()
    assert loop.time() - begun == pytest.approx(0.2)


async def test_a_failing_peer_does_not_prevent_the_other_goodbyes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    connections, peers = crowd(3)

    def fail(retry_after: float) -> None:
        raise RuntimeError("as ordered")

    peers[0].close_for_restart = fail  # type: ignore[method-assign]
    await connections.close_all()
    assert [peer.closing for peer in peers] == [False, True, True]
    assert "as ordered" in caplog.text

"""How many connections a broadcast has reached, on all nodes; a node that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from agentws import LocalBus, MemoryStore
from agentws.backends.memory import MemoryStore as Memory
from agentws.bus import Bus, Listener
from agentws.errors import NotSupported, Unavailable
from agentws.gateway.counting import LONGEST, QUIET
from agentws.protocol.topics import topic_log
from agentws.store import Node
from agentws.testing.connect import connect
from agentws.testing.faults import FaultyStore, LossyBus
from agentws.transports.service import Reach
from tests.virtual import anyio_backend as anyio_backend

from .stage import nodes


class NodesStore(Memory):
    """Says which nodes live."""

    live: Sequence[str] | Exception = ()

    async def nodes(self) -> Sequence[Node]:
        if isinstance(self.live, Exception):
            raise self.live
        return [Node(id, b"") for id in self.live]


class OneEndedBus(LocalBus):
    """A node behind a partition hears what is sent, and nobody hears it, or the other way round."""

    def __init__(self, *, hears: bool) -> None:
        super().__init__()
        self.hears = hears
        self.cut = False

    def publish(self, channel: str, payload: bytes) -> None:
        if not (self.cut and self.hears and channel.startswith("reached:")):
            super().publish(channel, payload)

    def subscribe(self, channel: str, listener: Listener):  # type: ignore[no-untyped-def]
        def heard(channel: str, payload: bytes) -> None:
            if not (self.cut and not self.hears):
                listener(channel, payload)

        return super().subscribe(channel, heard)


async def announced(gateway: object) -> tuple[Reach, float]:
    """What a broadcast has reached, and after how many seconds that was known."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    reach = await gateway.announce("now", level="info", metadata=None)  # type: ignore[attr-defined]
    return reach, loop.time() - begun


async def test_all_live_nodes_are_counted_without_waiting_for_longer_than_they_take() -> None:
    store = NodesStore()
    async with nodes(3, store=store) as gateways:
        store.live = [gateway.node for gateway in gateways]
        async with connect(gateways[0]), connect(gateways[1]), connect(gateways[1]):
            assert await announced(gateways[2]) == (Reach(3, nodes=3), 0.0)
            assert await gateways[0].broadcast("now") == 3


async def test_topics_count_their_subscribers_on_all_nodes() -> None:
    store = NodesStore()
    async with nodes(2, store=store) as gateways:
        store.live = [gateway.node for gateway in gateways]
        async with connect(gateways[0]) as one, connect(gateways[1]) as two, connect(gateways[1]):
            for client in (one, two):
                await client.subscribe("orders")
            assert await gateways[0].topic("orders").notify("now") == 2
            assert await gateways[0].topic("other").notify("now") == 0


@pytest.mark.parametrize("hears", [True, False])
async def test_a_node_that_does_not_answer_delays_a_broadcast_for_a_bounded_time(
    hears: bool,
) -> None:
    store, bus = NodesStore(), OneEndedBus(hears=hears)
    async with nodes(2, store=store, bus=bus) as gateways, connect(gateways[0]):
        store.live = [gateway.node for gateway in gateways]
        bus.cut = True
        reach, seconds = await announced(gateways[0])
        assert reach == Reach(1, nodes=1, missing=1)
        assert seconds == pytest.approx(LONGEST)
        bus.cut = False
        assert await announced(gateways[0]) == (Reach(1, nodes=2), 0.0)


async def test_a_node_that_has_died_is_missing_until_its_entry_expires() -> None:
    store = NodesStore()
    async with nodes(1, store=store) as [gateway]:
        store.exclusive = False
        store.live = [gateway.node, "dead"]
        assert (await announced(gateway))[0] == Reach(0, nodes=1, missing=1)
        store.live = [gateway.node]
        assert (await announced(gateway)) == (Reach(0, nodes=1), 0.0)


@pytest.mark.parametrize("error", [NotSupported(), Unavailable()])
async def test_without_known_nodes_those_that_answer_are_counted(error: Exception) -> None:
    store = NodesStore()
    store.live = error
    async with nodes(2, store=store) as gateways, connect(gateways[1]):
        reach, seconds = await announced(gateways[0])
        assert reach == Reach(1, nodes=2)
        assert seconds == pytest.approx(QUIET)


async def test_a_store_that_hangs_does_not_hold_a_broadcast_back() -> None:
    class Hanging(NodesStore):
        async def nodes(self) -> Sequence[Node]:
            await asyncio.get_running_loop().create_future()
            return ()

    store = Hanging()
    async with nodes(2, store=store) as gateways, connect(gateways[1]) as far:
        reach, seconds = await announced(gateways[0])
        assert reach == Reach(1, nodes=2)
        assert seconds == pytest.approx(LONGEST)
        await far.until("notice")


async def test_a_post_reaches_a_node_behind_a_partition_when_that_heals() -> None:
    shared = MemoryStore()
    async with (
        nodes(store=shared, bus=LocalBus()) as [gateway],
        nodes(store=FaultyStore(shared), bus=LossyBus(LocalBus(), drop=1.0)) as [cut],
        connect(cut) as client,
    ):
        await client.subscribe("orders")
        assert isinstance(cut.store, FaultyStore)
        cut.store.fail(["read", "heads", "load", "append"])
        for content in ("one", "two"):
            await gateway.topic("orders").post(content)
        await asyncio.sleep(30)
        assert client.posts("orders") == []
        cut.store.heal()
        await client.until(lambda frame: client.posts("orders") == ["one", "two"])


async def test_a_topic_whose_log_was_lost_is_begun_again_and_its_subscribers_are_told() -> None:
    store = MemoryStore()
    async with nodes(store=store, bus=LossyBus(LocalBus(), drop=1.0)) as [gateway]:
        async with connect(gateway) as client:
            await client.subscribe("orders")
            position = await gateway.topic("orders").post("one")
            await client.until("notice.posted")
            del store._logs[topic_log("orders")]
            assert (await client.wait_closed()).code == 4503
            assert await gateway.topic("orders").post("two") != position
            await client.reconnect()
            answer = await client.subscribe("orders", after=position)
            assert (answer["resume"], answer["reason"]) == ("snapshot", "epoch")
            await client.until("notice.posted")
            assert client.posts("orders") == ["one", "two"]


async def test_a_node_that_is_alone_waits_for_nobody() -> None:
    async with nodes(store=MemoryStore()) as [gateway], connect(gateway):
        assert await announced(gateway) == (Reach(1, nodes=1), 0.0)


async def test_counts_of_other_broadcasts_and_nonsense_are_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus: Bus = LocalBus()
    store = NodesStore()
    async with nodes(2, store=store, bus=bus) as gateways:
        store.live = [gateway.node for gateway in gateways]
        channel = f"reached:{gateways[0].node}"
        bus.publish(channel, b'{"id":"unknown","node":"x","reached":7}')
        bus.publish(channel, b"\xff{")
        assert (await announced(gateways[0]))[0] == Reach(0, nodes=2)
    assert "could not be decoded" in caplog.text

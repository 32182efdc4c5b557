"""The store contract: heartbeats, which say what nodes are alive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from secrets import token_hex

from ..errors import NotSupported, Unavailable
from ..store import Node, Store
from .contract_base import StoreFixtures, eventually, outside_a_task
from .needs import pytest


async def knows_nodes(store: Store) -> bool:
    """False for a store that does not know its nodes, which must then say so throughout."""
    node = token_hex(8)
    try:
        assert await store.beat(node, instance="i", data=b"", ttl=60)
    except NotSupported:
        with pytest.raises(NotSupported):
            await store.nodes()
        return False
    finally:
        await store.leave(node, instance="i")
    return True


def node_calls(store: Store) -> list[Callable[[], Awaitable[object]]]:
    node = token_hex(8)
    return [
        lambda: store.beat(node, instance="i", data=b"", ttl=60),
        store.nodes,
        lambda: store.leave(node, instance="i"),
    ]


async def found(store: Store, *wanted: str) -> dict[str, bytes]:
    """The data of the live nodes among ``wanted``: others may use the same server."""
    return {node.id: node.data for node in await store.nodes() if node.id in wanted}


class NodeRules(StoreFixtures):
    """A node is known from its first heartbeat until it leaves, or its time has passed."""

    async def test_a_node_is_known_with_its_newest_data(self, store: Store, peer: Store) -> None:
        if not await knows_nodes(store):
            return
        node = token_hex(8)
        for data in (b"", b"1", b"{\x00\xff}" * 300):
            assert await store.beat(node, instance="i", data=data, ttl=60)
            assert await found(peer, node) == {node: data}

    async def test_nodes_are_ordered_by_their_ids(self, store: Store, peer: Store) -> None:
        if not await knows_nodes(store):
            return
        ids = [token_hex(8) for _ in range(5)]
        for each in ids:
            assert await store.beat(each, instance="i", data=b"", ttl=60)
        listed = [node.id for node in await peer.nodes()]
        assert set(ids) <= set(listed)
        assert listed == sorted(listed)

    async def test_a_node_without_heartbeats_is_forgotten(self, store: Store, peer: Store) -> None:
        if not await knows_nodes(store):
            return
        dead, alive = token_hex(8), token_hex(8)
        assert await store.beat(alive, instance="i", data=b"here", ttl=60)
        assert await store.beat(dead, instance="i", data=b"", ttl=0.05)

        async def forgotten() -> bool:
            return dead not in await found(peer, dead, alive)

        await eventually(forgotten)
        assert await found(store, dead, alive) == {alive: b"here"}

    async def test_a_heartbeat_extends_the_time_of_its_node(self, store: Store) -> None:
        if not await knows_nodes(store):
            return
        node, other = token_hex(8), token_hex(8)
        assert await store.beat(node, instance="i", data=b"", ttl=0.05)
        assert await store.beat(node, instance="i", data=b"", ttl=60)
        assert await store.beat(other, instance="i", data=b"", ttl=0.05)

        async def forgotten() -> bool:
            return other not in await found(store, other)

        await eventually(forgotten)
        assert node in await found(store, node)

    async def test_of_two_instances_with_one_id_only_the_first_is_known(
        self, store: Store, peer: Store
    ) -> None:
        if not await knows_nodes(store):
            return
        node = token_hex(8)
        assert await store.beat(node, instance="first", data=b"1", ttl=60)
        assert not await peer.beat(node, instance="second", data=b"2", ttl=60)
        assert await found(store, node) == {node: b"1"}
        assert await store.beat(node, instance="first", data=b"3", ttl=60)
        assert await found(peer, node) == {node: b"3"}

    async def test_of_concurrent_instances_exactly_one_gets_the_id(
        self, store: Store, peer: Store
    ) -> None:
        if not await knows_nodes(store):
            return
        node = token_hex(8)
        won = await asyncio.gather(
            *(
                (store if n % 2 else peer).beat(node, instance=f"i{n}", data=b"", ttl=60)
                for n in range(8)
            )
        )
        assert sorted(won) == [False] * 7 + [True]

    async def test_an_id_is_free_when_its_time_has_passed(self, store: Store, peer: Store) -> None:
        if not await knows_nodes(store):
            return
        node = token_hex(8)
        assert await store.beat(node, instance="first", data=b"1", ttl=0.05)
        await eventually(lambda: peer.beat(node, instance="second", data=b"2", ttl=60))
        assert not await store.beat(node, instance="first", data=b"1", ttl=60)
        assert await found(store, node) == {node: b"2"}

    async def test_a_node_that_leaves_is_forgotten_at_once(self, store: Store, peer: Store) -> None:
        if not await knows_nodes(store):
            return
        node = token_hex(8)
        assert await store.beat(node, instance="first", data=b"", ttl=60)
        await peer.leave(node, instance="second")
        assert node in await found(peer, node)
        await store.leave(node, instance="first")
        await store.leave(node, instance="first")
        assert await found(peer, node) == {}
        assert await peer.beat(node, instance="second", data=b"", ttl=60)

    async def test_the_entry_that_nodes_returns_is_a_node(self, store: Store) -> None:
        if not await knows_nodes(store):
            return
        node = token_hex(8)
        assert await store.beat(node, instance="i", data=b"x", ttl=60)
        assert Node(node, b"x") in await store.nodes()

    async def test_a_closed_store_counts_no_node_or_raises_unavailable(self, store: Store) -> None:
        await store.close()
        for call in node_calls(store):
            with suppress(Unavailable, NotSupported):
                await call()

    async def test_an_immediate_store_knows_its_nodes_without_waiting(self, store: Store) -> None:
        if store.immediate and await knows_nodes(store):
            for call in node_calls(store):
                await outside_a_task(call)

"""A node that loses its store: what it says, and what becomes of the connections to it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from websockets.exceptions import ConnectionClosed

from agentws.testing.proxy import FaultProxy
from tests.cluster.checks import until
from tests.cluster.clients import Native
from tests.cluster.nodes import Node
from tests.cluster.stores import WITH_SERVER, shared_store

UNAVAILABLE: Final = 4503
OUTAGE: Final = 1.0
"""Seconds."""


@asynccontextmanager
async def node_behind_proxy(store: str, folder: Path) -> AsyncIterator[tuple[Node, FaultProxy]]:
    """A node, and the proxy between it and its store."""
    with shared_store(store, folder) as shared:
        assert shared.server is not None
        async with FaultProxy(shared.server.port) as between:
            node = Node("a", shared.through(between.port), folder)
            await asyncio.to_thread(node.start)
            try:
                await until(node.ready)
                yield node, between
            finally:
                await asyncio.to_thread(node.kill)


async def opened(node: Node, session: str) -> int | None:
    """Opens a connection, and is welcomed; the close code if it is refused."""
    client = Native(session)
    async with client.at(node.host):
        try:
            await client.until("welcome")
        except ConnectionClosed as closed:
            return 1006 if closed.rcvd is None else closed.rcvd.code
    return None


def refuse(proxy: FaultProxy) -> None:
    proxy.refusing = True
    proxy.reset()


@pytest.mark.parametrize("store", WITH_SERVER)
async def test_a_node_that_says_it_is_ready_again_takes_every_connection(
    store: str, tmp_path: Path
) -> None:
    faults: list[Callable[[FaultProxy], None]] = [FaultProxy.blackhole, refuse, FaultProxy.reset]
    sessions = [f"a-session-{secrets.token_hex(8)}" for _ in range(4)]
    async with node_behind_proxy(store, tmp_path) as (node, between):
        assert [await opened(node, one) for one in sessions] == [None] * 4
        for fault in faults:
            fault(between)
            meanwhile = [asyncio.create_task(opened(node, one)) for one in sessions]
            await asyncio.sleep(OUTAGE)
            between.heal()
            await until(node.ready)
            new = [f"a-session-{secrets.token_hex(8)}" for _ in range(4)]
            codes = await asyncio.gather(*(opened(node, one) for one in (*sessions, *new) * 3))
            assert codes == [None] * 24
            assert set(await asyncio.gather(*meanwhile)) <= {None, UNAVAILABLE}

"""Which servers of a Redis cluster are asked where its slots are."""

from __future__ import annotations

import asyncio
from typing import Any

from agentws.backends.redis.cluster import Cluster
from agentws.backends.redis.pool import Address

LAST = 16383


class Server:
    """A server that says that the slots are at some address."""

    def __init__(self, host: str, *, says: str) -> None:
        self.host = host
        self.says = says
        self.asked = 0
        self.reader = self

    def call(self, *commands: object) -> asyncio.Future[list[Any]]:
        assert commands == (("CLUSTER", "SLOTS"),)
        self.asked += 1
        reply: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        reply.set_result([[[0, LAST, [self.says.encode(), 6379]]]])
        return reply


async def test_a_server_that_has_left_is_not_asked_before_the_others() -> None:
    """It may be gone without a word, and each question would take the whole timeout."""
    left, stays = servers = Server("left", says="left"), Server("stays", says="stays")
    by_host: dict[str, Any] = {server.host: server for server in servers}

    async def connect(address: Address) -> Any:
        return by_host[address[0]]

    cluster = Cluster(connect, timeout=1.0)
    await cluster.open(by_host["left"])
    left.says = "stays"
    await cluster.refresh()
    await cluster.primaries()
    asked = left.asked
    await cluster.refresh()
    assert (left.asked, stays.asked) == (asked, 1)
    assert cluster.address("{n:1}:") == ("stays", 6379)

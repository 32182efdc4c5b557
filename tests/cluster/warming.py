"""Clients that use every node once: before that, its pools are empty and its memory says little."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from tests.cluster.clients import Native
from tests.cluster.nodes import Cluster, Node

CLIENTS: Final = 8
"""Clients of each node at the same time."""


def warm_up(cluster: Cluster) -> None:
    """Returns when the sessions of these clients are idle again."""
    asyncio.run(_warm_up(cluster))


async def _warm_up(cluster: Cluster) -> None:
    async with asyncio.TaskGroup() as group:
        for node in cluster.nodes:
            for _ in range(CLIENTS):
                group.create_task(_use(node))


async def _use(node: Node) -> None:
    client = Native(f"a-warming-{secrets.token_hex(8)}")
    async with client.at(node.host):
        await client.say("m1", "big 200")
        await client.until_ended("m1")

"""The node that runs a session's agent: the one to kill or to freeze."""

from __future__ import annotations

from typing import Any

from tests.cluster.checks import writer_of
from tests.cluster.clients import Native
from tests.cluster.nodes import Cluster, Node


async def begin(cluster: Cluster, client: Native, content: str, **members: Any) -> Node:
    """Sends ``m1`` to node ``a``; returns the node that answers it, after its first piece.

    Mostly that is ``a``, but every node may take the lease first: one that follows the session is
    rung by the append itself, and all look for sessions that have no lease.
    """
    async with client.at(cluster["a"].host):
        await client.say("m1", content, **members)
        piece = await client.first_piece()
    name = writer_of(piece["event"])
    assert name is not None
    return cluster[name]

"""The invariants of a session, checked after a scenario from its log and its clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from agentws.protocol.codec import Record, event_type
from agentws.protocol.fold import Fold
from agentws.testing.history import Checked, ClientHistory, check_history, check_strangers
from agentws.testing.laws import violations
from tests.cluster.clients import WITHIN, Native
from tests.cluster.nodes import Cluster
from tests.cluster.strangers import Stranger


def writer_of(event: dict[str, Any]) -> str | None:
    """The node that wrote a piece of an answer."""
    if event["type"] != "TEXT_MESSAGE_CONTENT":
        return None
    name: str = event["delta"].partition(":")[0]
    return name if name in ("a", "b", "c", "d", "e") else None


async def until(condition: Callable[[], bool]) -> None:
    """Polls until the condition holds. It may block for a moment, and is called in a thread."""
    deadline = time.monotonic() + WITHIN
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "the condition was never met"
        await asyncio.sleep(0.05)


async def settled_log(cluster: Cluster, session: str) -> tuple[str, list[Record]]:
    """The log, once nothing in it is open."""
    end = time.monotonic() + WITHIN
    while True:
        epoch, records = await cluster.log(session)
        outline = Fold().apply_all(records).outline
        if outline.is_settled():
            return epoch, records
        assert time.monotonic() < end, f"{session} has run {outline.run}, queue {outline.queue}"
        await asyncio.sleep(0.05)


async def check(
    cluster: Cluster, session: str, *clients: Native | ClientHistory, at: str = "b"
) -> list[str]:
    """Checks all invariants; returns the kinds of the log's events.

    Native clients read up to the head first, at that node, and a stranger tries to.
    """
    epoch, records = await settled_log(cluster, session)
    head = f"{epoch}.{records[-1].seq}.{records[-1].tag}"
    for client in clients:
        if isinstance(client, Native) and client.position != head:
            async with client.at(cluster[at].host), asyncio.timeout(WITHIN):
                while client.position != head:
                    await client.receive()
    histories = [one.history if isinstance(one, Native) else one for one in clients]
    broken = violations(records)
    assert not broken, "; ".join(map(str, broken))
    checked: Checked = check_history(epoch, records, histories, writer=writer_of)
    assert checked.events and not checked.lost
    stranger = Stranger(session)
    await stranger.visit(cluster[at].host)
    check_strangers([stranger.history])
    return [event_type(record.data) for record in records]

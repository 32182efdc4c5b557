"""A slow consumer that never reads a million deltas: memory and other clients' latency."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentws.client import connect

from .served import Peer, Speaking, check_speed, turns

SESSION = "a-session-that-is-flooded"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["preset", "stock"])
async def test_a_client_that_never_reads_a_flood_costs_little_memory_and_delays_nobody(
    tmp_path: Path, kind: str
) -> None:
    with Speaking(tmp_path, kind) as server:
        quiet = await turns(server.chat, 20)
        before = server.resident()
        peer = Peer(server, f"session={SESSION}", buffer=4096)
        peer.send(type="send", id="m1", content="flood")
        highest = before
        flooded: list[float] = []
        async with connect(server.chat, session=SESSION) as watching:
            while not any(len(str(m.content)) >= 10_000_000 for m in watching.messages):
                flooded += await turns(server.chat, 1)
                highest = max(highest, server.resident())
        peer.close()
    # The log is on disk. In memory are a tail, a page or two, and the socket buffers.
    assert highest - before < 64 * 1024 * 1024, (before, highest)
    check_speed(quiet, flooded)

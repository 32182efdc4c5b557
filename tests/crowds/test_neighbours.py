"""A client or an agent that loads the server delays other clients only for a moment.

Their latency is compared with that of the same server without load.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentws.client import connect
from agentws.protocol.messages import AssistantMessage

from .served import Peer, Speaking, check_speed, turn, turns
from .speaking import BLOCKED, EVENTS

pytestmark = pytest.mark.timeout(120)
SESSION = "a-session-with-a-long-past"
REPLAYS = 3
MESSAGES = 2
DRIBBLING = 2.0
# A frame with one letter, masked with zeros: the first fragment, and a continuation.
FIRST, NEXT = b"\x01\x81\0\0\0\0x", b"\x00\x81\0\0\0\0x"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Speaking]:
    with Speaking(tmp_path, "preset") as server:
        yield server


async def turns_during(server: Speaking, work: Callable[[], None]) -> list[float]:
    """The durations of a client's turns while ``work`` runs in a thread."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    took = []
    async with connect(server.chat) as chat:
        while not working.done():
            took.append(await turn(chat))
    await working
    return took


async def test_an_agent_that_blocks_the_loop_delays_others_but_loses_nothing(
    server: Speaking,
) -> None:
    async with connect(server.chat) as blocking, connect(server.chat) as other:
        blocked = asyncio.ensure_future(blocking.ask("block"))
        took = []
        while not blocked.done():
            took.append(await turn(other))
        assert await blocked == "before after"
        assert BLOCKED / 2 < max(took) < BLOCKED + 5.0
        assert await other.ask("hello") == "0123456789"
        said = [one.content for one in other.messages if isinstance(one, AssistantMessage)]
        assert said == ["0123456789"] * (len(took) + 1)


async def test_a_long_replay_does_not_slow_down_other_clients(server: Speaking) -> None:
    quiet = await turns(server.chat, 20)
    peer = Peer(server, f"session={SESSION}")
    peer.send(type="send", id="m1", content="events")
    first = re.search(rb'"id":"([^"]+)"', peer.read_until(b'"RUN_FINISHED"'))
    assert first is not None
    peer.close()
    query = f"session={SESSION}&after={first[1].decode()}"

    def replay() -> None:
        for _ in range(REPLAYS):
            peer = Peer(server, query)
            read = peer.read_until(b'"RUN_FINISHED"')
            peer.close()
            assert b'"resume":"replay"' in read
            assert read.count(b'"CUSTOM"') == EVENTS

    check_speed(quiet, await turns_during(server, replay))


async def test_a_message_in_tiny_fragments_does_not_slow_down_other_clients(
    server: Speaking,
) -> None:
    quiet = await turns(server.chat, 20)

    def dribble() -> None:
        for _ in range(MESSAGES):
            peer = Peer(server, "")
            peer.socket.sendall(FIRST)
            # The server reads slowly what is in so many pieces, and keeps the connection.
            end = time.monotonic() + DRIBBLING
            while time.monotonic() < end:
                peer.socket.sendall(NEXT * 1000)
            peer.close()

    check_speed(quiet, await turns_during(server, dribble))

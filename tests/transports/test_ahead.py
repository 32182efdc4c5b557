"""A connection that reads the store knows more of the log than its node, whose bell rings later."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from agentws.backends.memory import MemoryStore
from agentws.protocol import events as e
from agentws.protocol.position import GENESIS, Position
from agentws.protocol.wires.native import NativeEncoder
from agentws.sessions.session import Session
from agentws.store import SessionInfo
from agentws.tasks.tasks import Tasks
from agentws.transports.connection import Connection
from agentws.transports.outlet import Outlet

INFO = SessionInfo(id="a-session-of-two-nodes", agent="agent", created=0.0, updated=0.0)


class Peer:
    """Keeps what is sent to it."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def numbers(self) -> list[int]:
        """The notices that it was sent."""
        texts = [message["text"] for message in self.sent if message["type"] == "websocket.send"]
        frames = [frame for text in texts for frame in _frames(text)]
        return [int(frame["event"]["content"]) for frame in frames]


def _frames(text: str) -> list[Any]:
    found = msgspec.json.decode(text)
    return found if isinstance(found, list) else [found]


async def append(session: Session, *numbers: int) -> None:
    await session.append([e.NoticePosted(str(number), "info") for number in numbers])


async def test_a_connection_that_has_read_beyond_the_known_end_waits_for_the_next_event() -> None:
    store = MemoryStore()
    info, _ = await store.create(INFO, epoch="e1")
    here, other = [await Session.load(info, store, tail_size=10_000) for _ in range(2)]
    await append(here, 0, 1, 2)
    here.forget_tail()
    await append(other, 3, 4)
    peer, tasks = Peer(), Tasks()
    connection = Connection(
        id="c",
        session=here,
        identity=None,
        encoder=NativeEncoder(),
        outlet=Outlet(peer.send, tasks, extension=None),
    )
    here.follow(connection)
    connection.begin(Position("e1", 0, GENESIS), [])
    connection.uncork_now()
    await asyncio.sleep(0)
    assert peer.numbers == [0, 1, 2, 3, 4]
    assert not connection.closing and here.head.seq == 3
    await append(other, 5)
    await here.catch_up()
    assert peer.numbers == [0, 1, 2, 3, 4, 5]
    await tasks.aclose(grace=0)

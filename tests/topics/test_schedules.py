"""Random schedules: subscribers that drop and come back on two nodes see every post of a topic once
and in order, or are told that they get a snapshot.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from agentws import AgentGateway, Limits, LocalBus, MemoryStore
from agentws.errors import Unavailable
from agentws.protocol.position import parse_position
from agentws.testing.connect import Client, Closed, Frame
from agentws.testing.faults import FaultyStore, LossyBus
from agentws.testing.virtual import virtual_run

from .stage import nodes

SCHEDULES = 60
STEPS = 60
CALLS = ["append", "read", "heads", "info", "compact", "create", "load", "head"]


class Reader:
    """A client of one topic, and what it holds of it: the seqs since its last snapshot."""

    def __init__(self, random: Random, gateways: list[AgentGateway]) -> None:
        self._random = random
        self._gateways = gateways
        self._client: Client | None = None
        self._checked = 0
        self._refused = False
        self.position: str | None = None
        self.held: list[int] = []
        self.snapshots = 0

    async def connect(self) -> None:
        self.drop()
        self._client, self._checked = Client(self._random.choice(self._gateways)), 0
        await self._client.open()
        await self.subscribe()

    async def subscribe(self) -> None:
        if self._client is not None:
            frame = {"type": "subscribe", "topic": "t", "id": "s"}
            after = {} if self.position is None else {"after": self.position}
            await self._client.send({**frame, **after})

    def drop(self) -> None:
        """Loses the connection; what was not read is lost."""
        if self._client is not None:
            self.read()
            self._client.drop()
            self._client, self._refused = None, False

    def pause(self, paused: bool) -> None:
        if self._client is not None:
            self._client.line.read(not paused)

    def read(self) -> None:
        assert self._client is not None
        self._client.take_waiting()
        for frame in self._client.frames[self._checked :]:
            self._apply(frame)
        self._checked = len(self._client.frames)

    def _apply(self, frame: Frame) -> None:
        if frame.get("type") == "subscribed":
            if frame["resume"] == "snapshot":
                self.held, self.snapshots = [], self.snapshots + 1
            else:
                # Posts may have been on their way when it asked again on the same connection.
                after = parse_position(frame["after"]).seq
                self.held = [seq for seq in self.held if seq <= after]
                assert not self.held or self.held[-1] == after
            self.position = frame["after"]
        elif frame.get("type") == "error":
            assert frame["retryable"]
            self._refused = True
        elif "event" in frame:
            seq = parse_position(frame["id"]).seq
            assert int(frame["event"]["content"]) == seq
            if self.held:
                assert seq == self.held[-1] + 1, "a post is missing, doubled or out of order"
            self.held.append(seq)
            self.position = frame["id"]

    async def settle(self, last: int) -> None:
        """Reads until it holds the last post; asks again when it was refused or closed."""
        self.pause(False)
        async with asyncio.timeout(60):
            while True:
                if self._client is None or self._client.closed is not None or self._refused:
                    await self.connect()
                self.read()
                if self.held and self.held[-1] == last:
                    return
                await asyncio.sleep(0.5)


async def episode(seed: int, *, posts: int) -> int:
    """Returns how many snapshots there were."""
    random = Random(seed)
    store = FaultyStore(MemoryStore())
    bus = LossyBus(LocalBus(), drop=random.choice([0.0, 0.5, 1.0]), seed=seed)
    limits = Limits(topic_posts=posts, tail_size=random.choice([100, 65536]), session_idle=1.0)
    async with nodes(2, store=store, bus=bus, limits=limits) as gateways:
        readers = [Reader(random, gateways) for _ in range(3)]
        posted = 0
        for _ in range(STEPS):
            reader, action = random.choice(readers), random.random()
            try:
                if action < 0.4:
                    key = f"k{posted + 1}"
                    gateway = random.choice(gateways)
                    await _post(gateway, f"{posted + 1}", key)
                    posted += 1
                elif action < 0.55:
                    await reader.connect()
                elif action < 0.65:
                    reader.drop()
                elif action < 0.7:
                    await reader.subscribe()
                elif action < 0.8:
                    reader.pause(random.random() < 0.5)
                elif action < 0.9:
                    await asyncio.sleep(random.choice([0.0, 0.1, 3.0]))
                else:
                    store.fail(random.choice(CALLS), times=1, after=random.random() < 0.5)
            except Closed:
                reader.drop()
        store.heal()
        await _post(gateways[0], f"{posted + 1}", "last")
        for reader in readers:
            await reader.settle(posted + 1)
            reader.drop()
        return sum(reader.snapshots for reader in readers)


async def _post(gateway: AgentGateway, content: str, key: str) -> None:
    """Posts it once, however often the store fails."""
    while True:
        try:
            await gateway.topic("t").post(content, key=key)
        except Unavailable:
            continue
        return


@pytest.mark.parametrize("posts", [5, 1000])
def test_every_post_is_seen_once_and_in_order_or_there_is_a_snapshot(
    posts: int, soak: float
) -> None:
    snapshots, schedules = 0, round(SCHEDULES * soak)
    for seed in range(schedules):
        try:
            snapshots += virtual_run(episode(seed, posts=posts))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert snapshots > schedules

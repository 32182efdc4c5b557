"""What happens to messages on sharded channels while their server is away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from agentws.backends.redis import shard_publisher
from agentws.backends.redis.cluster import Cluster
from agentws.backends.redis.errors import Unreached
from agentws.backends.redis.pool import Command
from agentws.backends.redis.shard_publisher import MOST, ShardPublisher
from agentws.errors import Unavailable
from agentws.testing.contract_base import eventually


class FakeCluster(Cluster):
    """A cluster that fails as it is told, and keeps the payloads that were sent."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.tries = 0
        self.most_at_once = 0
        self._at_once = 0
        self.sent: list[str | bytes | int] = []

    async def call(
        self,
        prefix: str,
        commands: Sequence[Command],
        *,
        write: bool = False,
        again: bool = True,
        patient: bool = False,
    ) -> list[Any]:
        assert not again
        self.tries += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(0)
        self._at_once -= 1
        if self.failure is not None:
            raise self.failure
        self.sent += [payload for _, _, payload in commands]
        return [0]

    async def until_tried(self, number: int) -> None:
        async def tried() -> bool:
            return self.tries >= number

        await eventually(tried)

    async def until_sent(self, payload: bytes) -> None:
        async def sent() -> bool:
            return payload in self.sent

        await eventually(sent)


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_publisher, "PAUSE", 0.001)


CHANNEL = "n:{n:1}:b:s:1"


async def test_messages_that_were_not_sent_wait_for_the_server_in_their_order() -> None:
    cluster = FakeCluster()
    publisher = ShardPublisher(cluster, timeout=20.0)
    cluster.failure = Unreached()
    for number in range(3):
        publisher.send(CHANNEL, b"%d" % number)
    await cluster.until_tried(4)
    publisher.send(CHANNEL, b"3")
    cluster.most_at_once = 0
    await cluster.until_tried(cluster.tries + 3)
    assert cluster.most_at_once == 1, "all that wait were tried while the server was away"
    cluster.failure = None
    await cluster.until_sent(b"3")
    assert cluster.sent == [b"0", b"1", b"2", b"3"]
    await publisher.close()


async def test_a_message_that_may_have_arrived_is_not_sent_again() -> None:
    cluster = FakeCluster()
    publisher = ShardPublisher(cluster, timeout=20.0)
    cluster.failure = Unavailable()
    publisher.send(CHANNEL, b"lost")
    await cluster.until_tried(1)
    cluster.failure = None
    publisher.send(CHANNEL, b"sent")
    await cluster.until_sent(b"sent")
    assert cluster.sent == [b"sent"]
    await publisher.close()


async def test_the_messages_that_wait_for_a_server_are_bounded_and_hinder_no_other() -> None:
    cluster = FakeCluster()
    publisher = ShardPublisher(cluster, timeout=20.0)
    cluster.failure = Unreached()
    for number in range(2 * MOST):
        publisher.send(CHANNEL, b"%d" % number)
    publisher.send("n:{n:2}:b:s:2", b"elsewhere")
    await cluster.until_tried(MOST)
    cluster.failure = None
    await cluster.until_sent(b"%d" % (MOST - 1))
    await cluster.until_sent(b"elsewhere")
    assert len(cluster.sent) == MOST + 1
    await publisher.close()


async def test_what_waits_is_sent_before_the_publisher_is_closed() -> None:
    cluster = FakeCluster()
    publisher = ShardPublisher(cluster, timeout=20.0)
    publisher.send(CHANNEL, b"last")
    await publisher.close()
    assert cluster.sent == [b"last"]


async def test_a_server_that_stays_away_does_not_keep_the_publisher_from_closing() -> None:
    cluster = FakeCluster()
    publisher = ShardPublisher(cluster, timeout=0.05)
    cluster.failure = Unreached()
    publisher.send(CHANNEL, b"never")
    await publisher.close()
    assert cluster.sent == []

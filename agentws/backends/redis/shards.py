"""The sharded pub/sub of a cluster: one subscriber for each server that has shards."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NamedTuple

from redis.crc import key_slot

from ...errors import Unavailable
from .channels import shard_of, sharded, unsharded
from .cluster import Cluster, prefixes_of
from .errors import Moved, translated
from .pool import Address, pool_of
from .pubsub import Wiring
from .shard_publisher import ShardPublisher
from .shard_subscriber import ShardSubscriber


class _Home(NamedTuple):
    """What listens at one server."""

    subscriber: ShardSubscriber
    tasks: list[asyncio.Task[None]]


class Shards:
    """Publishes and subscribes at the servers that have the slots of the channels.

    All names are those of sharded channels, except for the ``wiring``. ``disturbed`` is set when
    the servers may have other slots than before: then :meth:`place` is due, after the cluster has
    been asked.
    """

    def __init__(self, wiring: Wiring, cluster: Cluster, *, disturbed: asyncio.Event) -> None:
        self._wiring = wiring
        self._cluster = cluster
        self._disturbed = disturbed
        self._prefixes = prefixes_of(wiring.namespace)
        self._publisher = ShardPublisher(cluster, timeout=wiring.timeout)
        self._homes: dict[Address, _Home] = {}
        self._addresses: dict[str, Address] = {}
        """Where each shard is subscribed to."""
        self._moved: set[int] = set()
        """Slots that a subscriber has lost since they were last placed."""

    async def open(self) -> None:
        """Connects to every server that has a shard. Raises Unavailable or Misconfigured."""
        try:
            self._addresses = {prefix: self._cluster.address(prefix) for prefix in self._prefixes}
            await self._publisher.check(sharded(self._wiring.probe, self._prefixes[0]))
            for address in dict.fromkeys(self._addresses.values()):
                await self._connect(address)
        except BaseException:
            await self.close()
            raise

    async def _connect(self, address: Address) -> None:
        subscriber = self._subscriber(address)
        # A shard that has moved meanwhile is followed later.
        with suppress(Moved):
            try:
                await subscriber.connect()
            except Exception as error:
                raise translated(error) from error
        self._start(address, subscriber)

    def _subscriber(self, address: Address) -> ShardSubscriber:
        wiring = self._wiring
        return ShardSubscriber(
            pool_of(wiring.url, address=address, socket_connect_timeout=wiring.timeout),
            probe=self._probe(address),
            timeout=wiring.timeout,
            received=self._received,
            gap=self._gap,
            moved=self._lose,
            disconnected=self._disturbed.set,
        )

    def _probe(self, address: Address) -> str:
        """The channel by which the connection to a server is probed, in a slot that it has."""
        shard = next(shard for shard, found in self._addresses.items() if found == address)
        return sharded(self._wiring.probe, shard)

    def _start(self, address: Address, subscriber: ShardSubscriber) -> None:
        running = {
            "subscriber": subscriber.run(),
            "subscriptions": subscriber.send_changes(),
            "probe": subscriber.probe(self._publisher.send, self._unanswered),
        }
        tasks = [
            asyncio.create_task(coroutine, name=f"agentws-redis-shard-{name}")
            for name, coroutine in running.items()
        ]
        self._homes[address] = _Home(subscriber, tasks)

    async def _unanswered(self) -> None:
        """The publisher reads replies: it finds out by itself."""

    async def close(self) -> None:
        await self._publisher.close()
        homes, self._homes = self._homes, {}
        for home in homes.values():
            await _end(home)

    # Messages

    def send(self, channel: str, payload: bytes) -> None:
        self._publisher.send(channel, payload)

    def add(self, channel: str) -> None:
        self._at(channel).add(channel)

    def remove(self, channel: str) -> None:
        self._at(channel).remove(channel)

    def _at(self, channel: str) -> ShardSubscriber:
        return self._homes[self._addresses[shard_of(channel)]].subscriber

    def _received(self, channel: str, payload: bytes) -> None:
        self._wiring.received(unsharded(channel), payload)

    def _gap(self, channel: str) -> None:
        self._wiring.gap(unsharded(channel))

    # Slots that move

    def _lose(self, slot: int) -> None:
        self._moved.add(slot)
        self._disturbed.set()

    async def place(self) -> None:
        """Subscribes where the slots are now to all that was lost, or is elsewhere."""
        moved, self._moved = self._moved, set()
        for shard in self._prefixes:
            self._place(shard, again=key_slot(shard.encode()) in moved)
        used = set(self._addresses.values())
        for address in used:
            self._homes[address].subscriber.watch(self._probe(address))
        for address in self._homes.keys() - used:
            await _end(self._homes[address])
            del self._homes[address]

    def _place(self, shard: str, *, again: bool) -> None:
        before = self._addresses[shard]
        try:
            address = self._cluster.address(shard)
        except Unavailable:
            # No server has it for now.
            address = before
        if address != before:
            self._addresses[shard] = address
            if address not in self._homes:
                self._start(address, self._subscriber(address))
            for channel in self._homes[before].subscriber.take(shard):
                self.add(channel)
        elif again:
            self._homes[address].subscriber.again(shard)


async def _end(home: _Home) -> None:
    for task in home.tasks:
        task.cancel()
    await asyncio.wait(home.tasks)
    await home.subscriber.drop()

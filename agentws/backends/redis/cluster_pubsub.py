"""Which pub/sub a bus uses: that of one server, or that of a cluster."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from ...bus import SESSION_CHANNEL
from ...errors import Misconfigured
from .channels import sharded
from .checks import HAS_SHARDED_PUBSUB
from .cluster import Cluster, prefix_of, prefixes_of
from .node import Promise, RedisNode
from .pool import Address
from .pubsub import PubSub, Wiring
from .shards import Shards

logger: Final = logging.getLogger("agentws")

INTERVAL: Final = 5.0
"""Seconds after which a cluster is asked for its slots, if nothing else says that they moved."""
PAUSE: Final = 0.2
"""Seconds between two questions, at least."""
_NOTHING: Final = Promise("process", 0, 0.0)


async def opened(wiring: Wiring) -> PubSub:
    """The connected pub/sub of the server or the cluster. Raises Unavailable or Misconfigured."""
    seed = RedisNode(wiring.url, timeout=wiring.timeout, scripts=())
    seed.attach()
    try:
        pubsub = ClusterPubSub(wiring, seed) if await _in_cluster(seed) else PubSub(wiring)
        await pubsub.open()
    finally:
        await seed.close()
    return pubsub


async def _in_cluster(node: RedisNode) -> bool:
    try:
        return (await node.facts(_NOTHING)).in_cluster
    except Misconfigured:
        # A user who may not ask; classic pub/sub reaches all servers of a cluster, too.
        return False


class ClusterPubSub(PubSub):
    """Sharded channels for the sessions, as soon as all servers have them; classic ones otherwise.

    A message on a classic channel goes to all servers: that is what the few channels of the nodes
    are for, and for each of them it is one connection, wherever that leads.
    """

    def __init__(self, wiring: Wiring, seed: RedisNode) -> None:
        super().__init__(wiring)
        self._seed = seed
        self._cluster = Cluster(self._connected, timeout=wiring.timeout)
        self._sessions = wiring.prefix + SESSION_CHANNEL
        self._prefixes = prefixes_of(wiring.namespace)
        self._shards: Shards | None = None
        self._disturbed = asyncio.Event()

    async def _connected(self, address: Address) -> RedisNode:
        wiring = self._wiring
        node = RedisNode(wiring.url, timeout=wiring.timeout, address=address, scripts=())
        node.attach()
        return node

    async def open(self) -> None:
        await super().open()
        try:
            await self._cluster.open(self._seed)
            await self._begin_if_supported()
        except BaseException:
            await self.close()
            raise
        self._start(self._follow(), "slots")

    async def close(self) -> None:
        await super().close()
        if self._shards is not None:
            await self._shards.close()
        await self._cluster.close()

    # Messages

    def publishing(self, channel: str) -> tuple[str, str]:
        if self._sharding(channel) is None:
            return super().publishing(channel)
        return "SPUBLISH", self._in_shard(channel)

    def send(self, channel: str, payload: bytes) -> None:
        shards = self._sharding(channel)
        if shards is None:
            super().send(channel, payload)
        else:
            shards.send(self._in_shard(channel), payload)

    def add(self, channel: str) -> None:
        shards = self._sharding(channel)
        if shards is None:
            super().add(channel)
        else:
            shards.add(self._in_shard(channel))

    def remove(self, channel: str) -> None:
        shards = self._sharding(channel)
        if shards is None:
            super().remove(channel)
        else:
            shards.remove(self._in_shard(channel))

    def _sharding(self, channel: str) -> Shards | None:
        """What carries the channel, if it is sharded."""
        return self._shards if channel.startswith(self._sessions) else None

    def _in_shard(self, channel: str) -> str:
        """The channel's name in the slot of its session."""
        return sharded(channel, prefix_of(self._prefixes, channel.removeprefix(self._sessions)))

    # Servers that change

    async def _follow(self) -> None:
        """Keeps to the servers that have the slots, until it is cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL):
                    await self._disturbed.wait()
            self._disturbed.clear()
            try:
                await self._cluster.refresh()
                await self._keep()
            except Exception as error:
                # Whatever it is: without this task no slot would be followed any more.
                logger.info("the slots of the Redis cluster can't be followed: %r", error)
            await asyncio.sleep(PAUSE)

    async def _keep(self) -> None:
        if self._shards is None:
            await self._begin_if_supported()
        else:
            await self._shards.place()

    async def _begin_if_supported(self) -> None:
        """Changes to sharded channels. Until all servers have them, the nodes could not agree."""
        for node in await self._cluster.primaries():
            if (await node.facts(_NOTHING)).version < HAS_SHARDED_PUBSUB:
                return
        shards = Shards(self._wiring, self._cluster, disturbed=self._disturbed)
        await shards.open()
        channels = [one for one in self._subscriber.channels() if one.startswith(self._sessions)]
        for channel in channels:
            self.remove(channel)
        self._shards = shards
        for channel in channels:
            self.add(channel)

"""A Redis cluster: which of its servers has a key, and what to do when that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from redis.crc import key_slot

from ...errors import Unavailable
from ...protocol.frames import Durability
from .errors import Moved, Moving
from .node import Promise, RedisNode
from .pool import Address, Command

SHARDS: Final = 64
"""Parts of the sessions, each with its indexes in one slot. More would make lists slower: a list of
sessions asks all of them."""
PAUSE: Final = 0.1
"""Seconds before a call is repeated while its slot moves to another server."""


def prefixes_of(namespace: str, count: int = SHARDS) -> list[str]:
    """The prefixes of the shards. Their braces are a hash tag, see the scripts."""
    return [f"{{{namespace}:{shard}}}:" for shard in range(count)]


def prefix_of(prefixes: Sequence[str], session: str) -> str:
    """The prefix of the session's shard."""
    return prefixes[key_slot(session.encode()) % len(prefixes)]


class Cluster:
    """The servers of a cluster. A call goes to the one that has its slot, wherever that is by now.

    A slot that is moving is unavailable until it has moved: the keys of a session, of which some
    are there already, are used together or not at all.

    ``connect`` returns the connected server at an address. Raises Unavailable or Misconfigured.
    """

    def __init__(
        self, connect: Callable[[Address], Awaitable[RedisNode]], *, timeout: float
    ) -> None:
        self._connect = connect
        self._timeout = timeout
        self._nodes: dict[Address, RedisNode] = {}
        self._slots: list[tuple[int, int, Address]] = []
        self._refreshing: asyncio.Future[None] | None = None

    async def open(self, seed: RedisNode) -> None:
        """Connects to every primary. Raises Unavailable or Misconfigured."""
        await self._learn(seed)
        await self.primaries()

    async def close(self) -> None:
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            await node.close()

    async def primaries(self) -> list[RedisNode]:
        """The servers that have slots now."""
        addresses = {address for _, _, address in self._slots}
        return [await self._node(address) for address in sorted(addresses)]

    async def available(self, promise: Promise) -> Durability:
        """The lowest durability that any of the servers meets now."""
        found = [await node.available(promise) for node in await self.primaries()]
        return min(found, key=("process", "disk", "replicated").index)

    async def call(
        self,
        prefix: str,
        commands: Sequence[Command],
        *,
        write: bool = False,
        again: bool = True,
        patient: bool = False,
    ) -> list[Any]:
        """The replies of the server that has the slot of ``prefix``."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout
        while True:
            address = self.address(prefix)
            try:
                node = await self._node(address)
                link = node.writer if write else node.reader
                return await link.call(*commands, durable=write, again=again, patient=patient)
            except Moved:
                await self.refresh()
            except Moving:
                await asyncio.sleep(PAUSE)
            except Unavailable:
                await self.refresh()
                # A replica may have taken over.
                if not again or self.address(prefix) == address:
                    raise
            if loop.time() > end:
                raise Unavailable("The Redis cluster is moving this session.")

    def address(self, prefix: str) -> Address:
        """Which server had the slot of ``prefix`` when it was asked. Raises Unavailable if none."""
        slot = key_slot(prefix.encode())
        for first, last, address in self._slots:
            if first <= slot <= last:
                return address
        raise Unavailable("The Redis cluster is down.")

    async def _node(self, address: Address) -> RedisNode:
        known = self._nodes.get(address)
        if known is not None:
            return known
        node = await self._connect(address)
        if address in self._nodes:
            # Another call was faster.
            await node.close()
        return self._nodes.setdefault(address, node)

    async def refresh(self) -> None:
        """Learns the slots again, once for all calls that ask for it at the same time."""
        if self._refreshing is None:
            self._refreshing = asyncio.ensure_future(self._learn_from_any())
            self._refreshing.add_done_callback(self._refreshed)
        await asyncio.shield(self._refreshing)

    def _refreshed(self, ended: asyncio.Future[None]) -> None:
        self._refreshing = None

    async def _learn_from_any(self) -> None:
        # With eager tasks it would else end before it is known to others who ask.
        await asyncio.sleep(0)
        known = {address for _, _, address in self._slots}
        # Last those that have left the cluster: they may cost a timeout each.
        for _, node in sorted(self._nodes.items(), key=lambda item: item[0] not in known):
            try:
                await self._learn(node)
            except Unavailable:
                continue
            return

    async def _learn(self, node: RedisNode) -> None:
        [slots] = await node.reader.call(("CLUSTER", "SLOTS"))
        # A server that does not know its own address is at the one where it was asked.
        self._slots = [
            (first, last, ((primary[0] or node.host.encode()).decode(), primary[1]))
            for first, last, primary, *_ in slots
        ]

"""Heartbeats: every node says every few seconds that it is alive, and what it counts.

The store forgets a node whose heartbeats stop. So counts over all nodes are sums over the live
ones, and nothing has to be corrected after a node was killed, as counters would have to be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from ..errors import AgentwsError, Misconfigured, NotSupported, Unavailable
from ..store import Node, Store
from ..tasks.tasks import Tasks

logger: Final = logging.getLogger("agentws")

BEAT: Final = 5.0
"""Seconds between two heartbeats."""
TTL: Final = 15.0
"""Seconds after which a node without a heartbeat counts as dead: two of them may be lost."""
LEAVING: Final = 1.0
"""Seconds that a node which stops waits for the store to forget it."""
CLAIM_POLL: Final = 1.0
"""Seconds between two checks of a node that has the same name."""

Counts = Mapping[str, int]


class Heartbeat(msgspec.Struct, frozen=True):
    """What a node says of itself. ``number`` grows with each heartbeat of its process."""

    number: int
    counts: dict[str, int]


class Heartbeats:
    """The heartbeats of one node, and the counts of all live ones.

    ``node`` is its name, ``instance`` is random for each process. A store that does not know its
    nodes gets no heartbeats. One that fails is tried again with the next heartbeat.
    """

    def __init__(
        self, *, store: Store, node: str, instance: str, counts: Callable[[], Counts]
    ) -> None:
        self._store = store
        self._node = node
        self._instance = instance
        self._counts = counts
        self._number = 0
        self._known = True
        """Whether the store knows its nodes."""
        self._healthy = True

    async def begin(self, tasks: Tasks) -> None:
        """Sends the first heartbeat, and then one every ``BEAT`` seconds.

        Raises Misconfigured if another live process has this node's name. The entry of a process
        that has died is waited for: it expires within ``TTL`` seconds.
        """
        self._known = self._healthy = True
        try:
            await self._claim()
        except NotSupported:
            self._known = False
            return
        except Misconfigured:
            raise
        except Unavailable as error:
            self._failed(error)
        tasks.spawn(self._beat_forever(), name="heartbeats")

    async def leave(self) -> None:
        """Has the store forget this node. Does not fail: its entry expires in any case."""
        if not self._known:
            return
        try:
            async with asyncio.timeout(LEAVING):
                await self._store.leave(self._node, instance=self._instance)
        except (AgentwsError, TimeoutError) as error:
            logger.info("this node's entry is left to expire: %s", error or "the store is slow")

    async def cluster(self) -> dict[str, int] | None:
        """The sums over the live nodes, with ``nodes``; ``None`` if the store can't tell now.

        This node counts as it is now, every other one as of its last heartbeat.
        """
        try:
            found = await self._store.nodes()
        except (NotSupported, Unavailable):
            return None
        own = self._counts()
        others = [_counts_of(node) for node in found if node.id != self._node]
        sums = {name: n + sum(one.get(name, 0) for one in others) for name, n in own.items()}
        return {"nodes": 1 + len(others), **sums}

    async def _claim(self) -> None:
        """Takes the node's name; raises Misconfigured if a live process has it."""
        deadline = asyncio.get_running_loop().time() + TTL + CLAIM_POLL
        first: bytes | None = None
        while not await self._beat():
            held = {node.id: node.data for node in await self._store.nodes()}.get(self._node)
            first = first or held
            # It is gone when it has expired meanwhile, and changed when its process lives.
            lives = held is not None and held != first
            if lives or asyncio.get_running_loop().time() > deadline:
                raise Misconfigured(
                    f"Another process is the node {self._node!r}.",
                    expected="a name of its own for every process",
                )
            await asyncio.sleep(CLAIM_POLL)

    async def _beat(self) -> bool:
        self._number += 1
        data = msgspec.json.encode(Heartbeat(self._number, dict(self._counts())))
        return await self._store.beat(self._node, instance=self._instance, data=data, ttl=TTL)

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            await self.beat()

    async def beat(self) -> None:
        """Sends a heartbeat now. A failure is logged once, until one succeeds."""
        try:
            if await self._beat():
                self._healthy = True
            else:
                self._failed("another process has taken the name of this node")
        except Exception as error:
            self._failed(error)

    def _failed(self, why: object) -> None:
        if self._healthy:
            logger.warning("this node can't send heartbeats: %s", why)
        self._healthy = False


def _counts_of(node: Node) -> Counts:
    """Its counts; none if they can't be read, as those of another version."""
    try:
        return msgspec.json.decode(node.data, type=Heartbeat).counts
    except msgspec.MsgspecError:
        return {}

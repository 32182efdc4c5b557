"""Counts how many connections a broadcast has reached: the other nodes answer over the bus.

Nothing waits longer than ``LONGEST``: a node that was partitioned, or has died, is missing then.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Final

import msgspec

from ..bus import GAP, Bus
from ..errors import AgentwsError, NotSupported
from ..store import Store
from ..transports.service import Reach

logger: Final = logging.getLogger("agentws")

LONGEST: Final = 1.0
"""Seconds that a broadcast waits for the other nodes."""
QUIET: Final = 0.2
"""Seconds without an answer after which no more are awaited, if the store does not know the nodes.
"""
_CHANNEL: Final = "reached:"
"""Prefix of the bus channel on which a node gets answers, followed by its name."""


class Answer(msgspec.Struct, frozen=True):
    """How many connections of ``node`` the broadcast ``id`` has reached."""

    id: str
    node: str
    reached: int


class _Count:
    """The answers to one broadcast."""

    def __init__(self) -> None:
        self.id: Final = secrets.token_urlsafe(9)
        self.reached: Final[dict[str, int]] = {}
        self.changed: Final = asyncio.Event()

    def add(self, answer: Answer) -> None:
        self.reached[answer.node] = answer.reached
        self.changed.set()


class Counting:
    """Asks the other nodes, and answers them."""

    def __init__(self, *, store: Store, bus: Bus, node: str) -> None:
        self._store = store
        self._bus = bus
        self._node = node
        self._counts: dict[str, _Count] = {}
        self._unsubscribe: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"<Counting open={len(self._counts)}>"

    def subscribe(self) -> None:
        """Begins to receive answers."""
        self._unsubscribe = self._bus.subscribe(_CHANNEL + self._node, self._received)

    def unsubscribe(self) -> None:
        self._unsubscribe()

    def answer(self, id: str, *, to: str, reached: int) -> None:
        """Tells the node ``to`` how many connections its broadcast has reached here."""
        data = msgspec.json.encode(Answer(id, self._node, reached))
        self._bus.publish(_CHANNEL + to, data)

    def _received(self, channel: str, payload: bytes) -> None:
        if payload == GAP:
            return  # an answer that was lost counts as missing
        try:
            answer = msgspec.json.decode(payload, type=Answer)
        except msgspec.MsgspecError as error:
            logger.warning("a count of another node could not be decoded: %s", error)
            return
        count = self._counts.get(answer.id)
        if count is not None:
            count.add(answer)

    async def reach(self, publish: Callable[[str], asyncio.Task[int]]) -> Reach:
        """What a broadcast reaches. ``publish`` sends it with the id that the others answer to; the
        result of its task is the count of this node.
        """
        count = _Count()
        self._counts[count.id] = count
        try:
            here = publish(count.id)
            missing = await self._wait(count)
            reached = await asyncio.shield(here)
        finally:
            del self._counts[count.id]
        return Reach(reached + sum(count.reached.values()), 1 + len(count.reached), missing)

    async def _wait(self, count: _Count) -> int:
        """Waits for the other nodes; returns how many have not answered in time."""
        others: set[str] | None = set()
        try:
            async with asyncio.timeout(LONGEST):
                others = await self._others()
                while others is None or not others <= count.reached.keys():
                    count.changed.clear()
                    if not await _changes(count, within=QUIET if others is None else None):
                        break
        except TimeoutError:
            pass
        return len((others or set()) - count.reached.keys())

    async def _others(self) -> set[str] | None:
        """The live nodes besides this one; ``None`` if nobody knows them."""
        if self._store.exclusive:
            return set()
        try:
            return {node.id for node in await self._store.nodes()} - {self._node}
        except NotSupported:
            return None
        except AgentwsError as error:
            logger.warning("the nodes that a broadcast is to reach are not known: %s", error)
            return None


async def _changes(count: _Count, *, within: float | None) -> bool:
    """Waits for the next answer; false if none has come within that time."""
    try:
        async with asyncio.timeout(within):
            await count.changed.wait()
    except TimeoutError:
        return False
    return True

"""The connections of one node: how many there may be, and what is said to all of them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from ..errors import TooMany, Unavailable
from ..limits import Limits
from ..protocol.frames import Notice
from ..tasks.tasks import Tasks

logger: Final = logging.getLogger("agentws")

SLICE: Final = 128
"""Connections written to before others get their turn: a broadcast must not stall answers."""
OPENING: Final = 64
"""Connections that may open at once; the others wait: a reconnect storm must starve nobody."""

PAUSE: Final = 0.05
"""Seconds between goodbyes to one slice and the next: who leaves together returns together."""
GOODBYES: Final = 5.0
"""Seconds that all goodbyes may take."""
LEAVING: Final = 1.0
"""Seconds for the last peers to answer a goodbye."""


class Peer(Protocol):
    """Whoever holds a connection open, on whatever transport."""

    @property
    def closing(self) -> bool: ...

    def send_control(self, frame: Notice, /) -> None: ...

    def close_for_restart(self) -> None: ...


class Place:
    """One of the places that there are for connections, until it is given back."""

    __slots__ = ("_connections", "address", "owner")

    def __init__(self, connections: Connections, owner: str | None, address: str) -> None:
        self._connections: Connections | None = connections
        self.owner = owner
        self.address = address

    def __enter__(self) -> None:
        """For who needs it only while waiting."""

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Gives it back; a second time does nothing."""
        connections, self._connections = self._connections, None
        if connections is not None:
            connections.vacate(self)


class Connections:
    """Every connection of this node."""

    def __init__(self, limits: Limits, tasks: Tasks) -> None:
        self._limits = limits
        self._tasks = tasks
        self._connections: dict[Peer, Place] = {}
        self._places = 0
        self._per_identity: Counter[str] = Counter()
        self._per_address: Counter[str] = Counter()
        self._spreading: asyncio.Task[int] | None = None
        self._empty: asyncio.Event | None = None
        self.opening: Final = asyncio.Semaphore(OPENING)
        self.polls: Final[set[Callable[[], None]]] = set()
        """What wakes those that wait for an answer over HTTP, which is all that is said to them."""

    def __repr__(self) -> str:
        return f"<Connections {len(self)}>"

    def __len__(self) -> int:
        return len(self._connections)

    def admit(self, *, owner: str | None, address: str) -> Place:
        """Takes a place for one more, before anything is waited for: a burst must not slip through.

        Raises TooMany or Unavailable when there is none. The place goes back with the peer it was
        added with, or by :meth:`Place.release`.
        """
        limits = self._limits
        if self._places >= limits.max_connections:
            raise Unavailable("There is no room for another connection.", retry_after=2.0)
        if owner is not None and self._per_identity[owner] >= limits.max_connections_per_identity:
            raise TooMany("You have too many connections.", retry_after=5.0)
        if self._per_address[address] >= limits.max_connections_per_address:
            raise TooMany("There are too many connections from your address.", retry_after=5.0)
        self._places += 1
        self._per_address[address] += 1
        if owner is not None:
            self._per_identity[owner] += 1
        return Place(self, owner, address)

    def vacate(self, place: Place) -> None:
        self._places -= 1
        _decrease(self._per_address, place.address)
        if place.owner is not None:
            _decrease(self._per_identity, place.owner)

    def add(self, connection: Peer, place: Place) -> None:
        self._connections[connection] = place

    def discard(self, connection: Peer) -> None:
        place = self._connections.pop(connection, None)
        if place is None:
            return
        place.release()
        if self._empty is not None and not self._connections:
            self._empty.set()

    # To everybody

    def announce(self, notice: Notice) -> asyncio.Task[int]:
        """Shows ``notice`` to every connection, in turns, after those announced before it.

        The task's result is how many were reached.
        """
        spreading = self._spread(notice, after=self._spreading)
        self._spreading = self._tasks.spawn(spreading, name="broadcast")
        return self._spreading

    async def _spread(self, notice: Notice, *, after: asyncio.Task[int] | None) -> int:
        if after is not None and not after.done():
            await asyncio.wait({after})
        reached = 0
        for turn, connection in enumerate(tuple(self._connections), start=1):
            if not connection.closing:
                connection.send_control(notice)
                reached += 1
            if turn % SLICE == 0:
                await asyncio.sleep(0)
        return reached

    async def say_goodbye(self) -> None:
        """Closes every connection, telling each to come back.

        A few at a time, within ``GOODBYES`` seconds; returns when they have left or had time to.
        """
        for wake in tuple(self.polls):
            wake()
        peers = tuple(self._connections)
        pause = min(PAUSE, GOODBYES * SLICE / max(1, len(peers)))
        for turn, connection in enumerate(peers, start=1):
            try:
                connection.close_for_restart()
            except Exception:
                # One that fails must not keep the others from being told.
                logger.exception("%r could not be told goodbye", connection)
            if turn % SLICE == 0:
                await asyncio.sleep(pause)
        await self._left(within=LEAVING)

    async def _left(self, *, within: float) -> None:
        if not self._connections:
            return
        self._empty = asyncio.Event()
        try:
            async with asyncio.timeout(within):
                await self._empty.wait()
        except TimeoutError:
            logger.info("%d connections did not answer a goodbye", len(self))


def _decrease(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]

"""The connections of one node: how many there may be, and what is said to all of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final, Protocol

from ..errors import TooMany, Unavailable
from ..limits import Limits
from ..protocol.frames import Notice
from ..tasks import Tasks

SLICE: Final = 128
"""Connections written to before others get their turn: a broadcast must not stall answers."""
OPENING: Final = 64
"""Connections that may open at once; the others wait: a reconnect storm must starve nobody."""


class Peer(Protocol):
    """Whoever holds a connection open, on whatever transport."""

    @property
    def address(self) -> str: ...

    @property
    def owner(self) -> str | None: ...

    def say(self, frame: Notice, /) -> None: ...

    def close_for_restart(self) -> None: ...


class Connections:
    """Every connection of this node."""

    def __init__(self, limits: Limits, tasks: Tasks) -> None:
        self._limits = limits
        self._tasks = tasks
        self._connections: dict[Peer, None] = {}
        self._per_identity: Counter[str] = Counter()
        self._per_address: Counter[str] = Counter()
        self._announcing: list[Notice] = []
        self._spreading: asyncio.Task[None] | None = None
        self.opening: Final = asyncio.Semaphore(OPENING)
        self.notified = 0
        """How often a broadcast has reached a connection here, ever."""

    def __repr__(self) -> str:
        return f"<Connections {len(self)}>"

    def __len__(self) -> int:
        return len(self._connections)

    def admit(self, *, owner: str | None, address: str) -> None:
        """Raises TooMany or Unavailable when there is no place for one more."""
        limits = self._limits
        if len(self._connections) >= limits.max_connections:
            raise Unavailable("There is no room for another connection.", retry_after=2.0)
        if owner is not None and self._per_identity[owner] >= limits.max_connections_per_identity:
            raise TooMany("You have too many connections.", retry_after=5.0)
        if self._per_address[address] >= limits.max_connections_per_address:
            raise TooMany("There are too many connections from your address.", retry_after=5.0)

    def add(self, connection: Peer) -> None:
        self._connections[connection] = None
        self._per_address[connection.address] += 1
        if connection.owner is not None:
            self._per_identity[connection.owner] += 1

    def discard(self, connection: Peer) -> None:
        if connection not in self._connections:
            return
        del self._connections[connection]
        _decrease(self._per_address, connection.address)
        if connection.owner is not None:
            _decrease(self._per_identity, connection.owner)

    # To everybody

    def announce(self, notice: Notice) -> None:
        """Shows ``notice`` to every connection, in turns."""
        self._announcing.append(notice)
        if self._spreading is None or self._spreading.done():
            self._spreading = self._tasks.spawn(self._spread(), name="broadcast")

    async def spread(self) -> None:
        """Returns when what was announced has been written."""
        if self._spreading is not None:
            await asyncio.shield(self._spreading)

    async def _spread(self) -> None:
        while self._announcing:
            notice = self._announcing.pop(0)
            for turn, connection in enumerate(tuple(self._connections), start=1):
                connection.say(notice)
                self.notified += 1
                if turn % SLICE == 0:
                    await asyncio.sleep(0)

    async def say_goodbye(self) -> None:
        """Closes every connection, telling each to come back."""
        for turn, connection in enumerate(tuple(self._connections), start=1):
            connection.close_for_restart()
            if turn % SLICE == 0:
                await asyncio.sleep(0)


def _decrease(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]

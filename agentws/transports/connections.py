"""The connections of one node: connection limits, broadcasts, and closing all of them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol, cast

from ..errors import TooMany, Unavailable
from ..limits import Limits
from ..protocol.frames import Notice
from ..protocol.wires.wire import Encoder
from ..sessions.session import Session
from ..tasks.tasks import Tasks

logger: Final = logging.getLogger("agentws")

SLICE: Final = 128
"""Connections that a broadcast writes to in one turn of the event loop, not to delay answers."""
OPENING: Final = 64
"""Handshakes handled at once; others wait, so that a reconnect storm does not delay everything."""
OPENING_PATIENCE: Final = 5.0
"""Seconds that a handshake waits for the others; then it is refused, and its client tries again.

A server gives handshakes up, too, later. One that was given up and then has its turn would read its
session for nobody, and delay those behind it until they are given up as well.
"""
PAUSE: Final = 0.05
"""Seconds between closing one slice and the next: clients that are closed together would reconnect
together."""
RETRY_AFTER: Final = 0.5
"""Seconds after which a client is told to reconnect, at the earliest."""
RECONNECTS: Final = 500
"""How many clients a second are told to reconnect: a handshake reads the store."""
CLOSE_TIMEOUT: Final = 1.0
"""Seconds that the last peers have to answer the close."""


class Peer(Protocol):
    """One open connection, on any transport."""

    @property
    def session(self) -> Session: ...

    @property
    def closing(self) -> bool: ...

    @property
    def encoder(self) -> Encoder: ...

    def send_frames(self, parts: Sequence[bytes], /) -> None:
        """Sends control frames that ``encoder`` has made."""

    def close_for_restart(self, retry_after: float, /) -> None: ...


class Place:
    """One connection counted against the limits, until it is released."""

    __slots__ = ("_connections", "address", "owner")

    def __init__(self, connections: Connections, owner: str | None, address: str) -> None:
        self._connections: Connections | None = connections
        self.owner = owner
        self.address = address

    def __enter__(self) -> None:
        """Releases the place at the end of the block. For short requests such as polls."""

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Releases it; a second time does nothing."""
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
        self._broadcasting: asyncio.Task[int] | None = None
        self._empty: asyncio.Event | None = None
        self._opening: Final = asyncio.Semaphore(OPENING)
        self.polls: Final[set[Callable[[], None]]] = set()
        """Functions that end the wait of each poll, for a drain. Broadcasts do not reach polls."""
        self.on_change: Callable[[Peer], None] | None = None
        """Called with every connection that comes or goes, while somebody asks for that."""

    def __repr__(self) -> str:
        return f"<Connections {len(self)}>"

    def __len__(self) -> int:
        return len(self._connections)

    @asynccontextmanager
    async def opening(self) -> AsyncIterator[None]:
        """A handshake, from reading its session on. Raises Unavailable after a long wait."""
        if self._opening.locked():
            try:
                async with asyncio.timeout(OPENING_PATIENCE):
                    await self._opening.acquire()
            except TimeoutError as error:
                raise Unavailable("Too many clients connect at once.") from error
        else:
            await self._opening.acquire()
        try:
            yield
        finally:
            self._opening.release()

    def admit(self, *, owner: str | None, address: str) -> Place:
        """Counts one more connection. Call it before any ``await``, or a burst exceeds the limits.

        Raises TooMany or Unavailable if a limit is reached. The place is released when the peer
        that it was added with is discarded, or by :meth:`Place.release`.
        """
        limits = self._limits
        if self._places >= limits.max_connections:
            raise Unavailable("This server has no room for another connection.", retry_after=2.0)
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

    def __contains__(self, connection: object) -> bool:
        return connection in self._connections

    def add(self, connection: Peer, place: Place) -> None:
        self._connections[connection] = place
        if self.on_change is not None:
            self.on_change(connection)

    def discard(self, connection: Peer) -> None:
        place = self._connections.pop(connection, None)
        if place is None:
            return
        place.release()
        if self.on_change is not None:
            self.on_change(connection)
        if self._empty is not None and not self._connections:
            self._empty.set()

    def members(self, followers: Iterable[object]) -> Counter[str | None]:
        """The connections among ``followers`` by identity; ``None``: those without one."""
        known = cast("dict[object, Place]", self._connections)
        return Counter(known[one].owner for one in followers if one in known)

    # Broadcasts and closing

    def announce(self, notice: Notice, *, to: Sequence[Peer] | None = None) -> asyncio.Task[int]:
        """Sends ``notice`` to every connection, in slices, after the notices before it.

        With ``to``, only to those. The task's result is how many were reached.
        """
        sending = self._broadcast(notice, to, after=self._broadcasting)
        self._broadcasting = self._tasks.spawn(sending, name="broadcast")
        return self._broadcasting

    async def _broadcast(
        self, notice: Notice, to: Sequence[Peer] | None, *, after: asyncio.Task[int] | None
    ) -> int:
        if after is not None and not after.done():
            await asyncio.wait({after})
        reached = 0
        encoder: Encoder | None = None
        frame: bytes | None = None
        peers = tuple(self._connections) if to is None else to
        for turn, connection in enumerate(peers, start=1):
            if not connection.closing:
                if encoder is not connection.encoder:
                    # Once for all connections in a row that share an encoder: most share one.
                    encoder = connection.encoder
                    frame = encoder.control(notice)
                if frame is not None:
                    connection.send_frames((frame,))
                reached += 1
            if turn % SLICE == 0:
                await asyncio.sleep(0)
        return reached

    async def close_all(self) -> None:
        """Closes every connection, telling each client when to reconnect.

        A slice at a time, within ``Limits.drain_window`` seconds, and each client with a jitter, so
        that no reconnect storm follows. Returns when all have left, or after ``CLOSE_TIMEOUT``
        seconds more.
        """
        for wake in tuple(self.polls):
            wake()
        peers = [connection for connection in self._connections if not connection.closing]
        window = min(self._limits.drain_window, self._limits.drain_timeout)
        pause = min(PAUSE, window * SLICE / max(1, len(peers)))
        jitter = min(window, len(peers) / RECONNECTS)
        for turn, connection in enumerate(peers, start=1):
            try:
                connection.close_for_restart(RETRY_AFTER + random.random() * jitter)
            except Exception:
                # One that fails must not keep the others from being closed.
                logger.exception("%r could not be closed", connection)
            if turn % SLICE == 0:
                await asyncio.sleep(pause)
        if peers:
            await self._left(within=CLOSE_TIMEOUT)

    async def _left(self, *, within: float) -> None:
        if not self._connections:
            return
        self._empty = asyncio.Event()
        try:
            async with asyncio.timeout(within):
                await self._empty.wait()
        except TimeoutError:
            logger.info("%d connections did not close in time", len(self))


def _decrease(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]

"""Backends that inject faults around any real one.

store = FaultyStore(MemoryStore(), fail_on="append", times=2)
store = FaultyStore(MemoryStore(), fail_on="append", after=True)   # a lost acknowledgement
store = SlowStore(MemoryStore(), delay=0.2)
bus = LossyBus(LocalBus(), drop=0.5, seed=7)
"""

from __future__ import annotations

import asyncio
import math
import random
from abc import abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

from msgspec import UNSET, UnsetType

from ..bus import Bus, Listener
from ..errors import Unavailable
from ..protocol.codec import Record
from ..protocol.frames import Durability
from ..protocol.messages import Metadata
from ..protocol.position import Position
from ..store import PAGE, Appended, Head, Key, Lease, Loaded, Node, SessionInfo, Settled, Store

T = TypeVar("T")


class WrappedStore(Store):
    """Forwards every call to ``store`` through :meth:`around`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.scope = store.scope
        self.durability = store.durability

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.store!r}>"

    @abstractmethod
    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        """Makes ``call`` (or not) for the method named ``operation``."""

    async def open(self) -> None:
        await self.around("open", self.store.open)

    async def close(self) -> None:
        await self.store.close()

    async def ping(self) -> None:
        await self.around("ping", self.store.ping)

    async def available_durability(self) -> Durability:
        return await self.around("available_durability", self.store.available_durability)

    def default_bus(self) -> Bus | None:
        return self.store.default_bus()

    async def create(self, info: SessionInfo, *, epoch: str) -> tuple[SessionInfo, bool]:
        return await self.around("create", lambda: self.store.create(info, epoch=epoch))

    async def info(self, session: str) -> SessionInfo:
        return await self.around("info", lambda: self.store.info(session))

    async def load(self, session: str) -> Loaded:
        return await self.around("load", lambda: self.store.load(session))

    async def update(
        self,
        session: str,
        *,
        title: str | None = None,
        metadata: Metadata | None = None,
        agent: str | None = None,
        retention: float | UnsetType | None = UNSET,
        keep_title: bool = False,
    ) -> SessionInfo:
        return await self.around(
            "update",
            lambda: self.store.update(
                session,
                title=title,
                metadata=metadata,
                agent=agent,
                retention=retention,
                keep_title=keep_title,
            ),
        )

    async def sessions(
        self, *, owner: str, before: tuple[float, str] | None = None, limit: int = 50
    ) -> Sequence[SessionInfo]:
        return await self.around(
            "sessions", lambda: self.store.sessions(owner=owner, before=before, limit=limit)
        )

    async def search(
        self,
        owner: str,
        query: str,
        *,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> Sequence[SessionInfo]:
        return await self.around(
            "search", lambda: self.store.search(owner, query, before=before, limit=limit)
        )

    async def maintain(self) -> bool:
        return await self.around("maintain", self.store.maintain)

    async def delete(self, session: str, *, updated: float | None = None) -> bool:
        return await self.around("delete", lambda: self.store.delete(session, updated=updated))

    async def stale(self, *, retention: float | None, limit: int = 100) -> Sequence[SessionInfo]:
        return await self.around(
            "stale", lambda: self.store.stale(retention=retention, limit=limit)
        )

    async def append(
        self,
        session: str,
        events: Sequence[bytes],
        *,
        key: Key | None = None,
        fence: str | None = None,
        settled: Settled | None = None,
        expect: int | None = None,
        commutes: bool = False,
    ) -> Appended:
        return await self.around(
            "append",
            lambda: self.store.append(
                session,
                events,
                key=key,
                fence=fence,
                settled=settled,
                expect=expect,
                commutes=commutes,
            ),
        )

    async def find(self, session: str, key: Key) -> Appended | None:
        return await self.around("find", lambda: self.store.find(session, key))

    async def head(self, session: str) -> Head:
        return await self.around("head", lambda: self.store.head(session))

    async def heads(self, sessions: Sequence[str]) -> Sequence[int | None]:
        return await self.around("heads", lambda: self.store.heads(sessions))

    async def read(
        self, session: str, *, after: Position | None = None, limit: int = PAGE
    ) -> Sequence[Record]:
        return await self.around("read", lambda: self.store.read(session, after=after, limit=limit))

    async def read_back(self, session: str, *, before: int, limit: int = PAGE) -> Sequence[Record]:
        return await self.around(
            "read_back", lambda: self.store.read_back(session, before=before, limit=limit)
        )

    async def compact(
        self, session: str, *, first: int, last: int, records: Sequence[Record]
    ) -> None:
        await self.around(
            "compact",
            lambda: self.store.compact(session, first=first, last=last, records=records),
        )

    async def lease(self, session: str, *, owner: str, ttl: float) -> Lease | None:
        return await self.around("lease", lambda: self.store.lease(session, owner=owner, ttl=ttl))

    async def renew(self, owner: str, sessions: Sequence[str], *, ttl: float) -> Sequence[str]:
        return await self.around("renew", lambda: self.store.renew(owner, sessions, ttl=ttl))

    async def release(self, lease: Lease) -> None:
        await self.around("release", lambda: self.store.release(lease))

    async def unsettled(self, *, limit: int = 100) -> Sequence[str]:
        return await self.around("unsettled", lambda: self.store.unsettled(limit=limit))

    async def beat(self, node: str, *, instance: str, data: bytes, ttl: float) -> bool:
        return await self.around(
            "beat", lambda: self.store.beat(node, instance=instance, data=data, ttl=ttl)
        )

    async def nodes(self) -> Sequence[Node]:
        return await self.around("nodes", self.store.nodes)

    async def leave(self, node: str, *, instance: str) -> None:
        await self.around("leave", lambda: self.store.leave(node, instance=instance))


class FaultyStore(WrappedStore):
    """Raises ``error`` for the next ``times`` calls of the methods named in ``fail_on``.

    With ``after`` the call is made first: it takes effect, and then raises (a lost
    acknowledgement). :meth:`fail` sets the next failures, also while the store is in use.
    ``calls`` counts all calls by method, failed ones too.
    """

    def __init__(
        self,
        store: Store,
        *,
        fail_on: str | Collection[str] = (),
        times: float = 1,
        error: Callable[[], Exception] = Unavailable,
        after: bool = False,
    ) -> None:
        super().__init__(store)
        self.calls: Counter[str] = Counter()
        self.fail(fail_on, times=times, error=error, after=after)

    def fail(
        self,
        fail_on: str | Collection[str],
        *,
        times: float = math.inf,
        error: Callable[[], Exception] = Unavailable,
        after: bool = False,
    ) -> None:
        """Makes the next ``times`` calls of these methods fail, or all until :meth:`heal`."""
        self._fail_on = {fail_on} if isinstance(fail_on, str) else set(fail_on)
        self._times = times
        self._error = error
        self._after = after

    def heal(self) -> None:
        """Ends all failures."""
        self._times = 0

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        self.calls[operation] += 1
        if operation not in self._fail_on or self._times <= 0:
            return await call()
        self._times -= 1
        error, after = self._error(), self._after
        if after:
            await call()
        raise error


class SlowStore(WrappedStore):
    """Waits ``delay`` seconds before every call of the methods in ``slow_on`` (all, when empty).

    From :meth:`pause` to :meth:`resume` such calls block, so a test can act in the middle of one.
    ``waiting`` is the number of calls that wait.
    """

    def __init__(
        self, store: Store, *, delay: float = 0.0, slow_on: str | Collection[str] = ()
    ) -> None:
        super().__init__(store)
        self.delay = delay
        self.waiting = 0
        self._slow_on = {slow_on} if isinstance(slow_on, str) else set(slow_on)
        self._running = asyncio.Event()
        self._running.set()

    def pause(self) -> None:
        """Blocks the next calls of the methods in ``slow_on``."""
        self._running.clear()

    def resume(self) -> None:
        """Lets the blocked calls go on."""
        self._running.set()

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        if not self._slow_on or operation in self._slow_on:
            await self._wait()
        return await call()

    async def _wait(self) -> None:
        self.waiting += 1
        try:
            await asyncio.sleep(self.delay)
            await self._running.wait()
        finally:
            self.waiting -= 1


class LossyBus(Bus):
    """Loses each message with probability ``drop``; the same ``seed`` loses the same messages."""

    lossless = False

    def __init__(self, bus: Bus, *, drop: float = 1.0, seed: int = 0) -> None:
        self.bus = bus
        self.drop = drop
        self.published = 0
        self.lost = 0
        self.scope = bus.scope
        self._random = random.Random(seed)

    def __repr__(self) -> str:
        return f"<LossyBus drop={self.drop} {self.bus!r}>"

    async def open(self) -> None:
        await self.bus.open()

    async def close(self) -> None:
        await self.bus.close()

    def publish(self, channel: str, payload: bytes) -> None:
        self.published += 1
        if self._random.random() < self.drop:
            self.lost += 1
        else:
            self.bus.publish(channel, payload)

    def subscribe(self, channel: str, listener: Listener) -> Callable[[], None]:
        return self.bus.subscribe(channel, listener)

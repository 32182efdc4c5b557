"""Stores for races between commands: with random delays, held at one append, or counted."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from agentws.errors import Unavailable
from agentws.protocol.codec import event_type
from agentws.store import Appended, Store
from agentws.testing.faults import WrappedStore
from agentws.testing.line import WITHIN

T = TypeVar("T")


class End:
    """The end of the log in one file, by watching every handle of the file."""

    seq = 0


class Jittery(WrappedStore):
    """Waits a random time before and after each call; both are zero often, and ``most`` at most.

    What a caller knew when it called may not be so any more when the call is made. ``failing`` is
    the share of calls that fail, half of them after they were done.
    """

    def __init__(self, store: Store, end: End, *, most: float, failing: float, seed: int) -> None:
        super().__init__(store)
        self._end = end
        self._most = most
        self._failing = failing
        self._random = random.Random(seed)

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        if operation in ("open", "close"):
            return await call()
        await self._wait()
        self._fail()
        done = await call()
        if isinstance(done, Appended) and done.records:
            self._end.seq = max(self._end.seq, done.records[-1].seq)
        await self._wait()
        self._fail()
        return done

    def _fail(self) -> None:
        if self._random.random() < self._failing / 2:
            raise Unavailable()

    async def _wait(self) -> None:
        if self._random.random() < 0.6:
            await asyncio.sleep(self._random.uniform(0.0, self._most))


class Held(WrappedStore):
    """Holds the next append of an event of a given type, before it reaches the store."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._type: str | None = None
        self._held = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()

    def hold(self, type: str) -> None:
        """From now on; only the first such append is held, until :meth:`let_go`."""
        self._type = type
        self._held.clear()
        self._free.clear()

    async def held(self) -> None:
        """Returns when an append is held: what it does has been decided."""
        try:
            async with asyncio.timeout(WITHIN):
                await self._held.wait()
        except TimeoutError:
            raise AssertionError(f"nobody appended a {self._type}") from None

    def let_go(self) -> None:
        self._free.set()

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        return await call()

    async def append(self, session: str, events: Sequence[bytes], **options: Any) -> Appended:
        if any(event_type(data) == self._type for data in events):
            self._type = None
            self._held.set()
            await self._free.wait()
        return await super().append(session, events, **options)


class Counting(WrappedStore):
    """Counts calls, and waits ``latency`` seconds in each. What a run appends is not counted."""

    def __init__(self, store: Store, *, latency: float = 0.0) -> None:
        super().__init__(store)
        self.latency = latency
        self.calls: Counter[str] = Counter()

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        if operation != "append":
            self.calls[operation] += 1
        if self.latency and operation != "open":
            await asyncio.sleep(self.latency / 2)
            done = await call()
            await asyncio.sleep(self.latency / 2)
            return done
        return await call()

    async def append(self, session: str, events: Sequence[bytes], **options: Any) -> Appended:
        self.calls["append" if options.get("fence") is None else "append of a run"] += 1
        return await super().append(session, events, **options)

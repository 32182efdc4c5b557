"""A queue between the connection and one reader of the application.

It has no limit on purpose: a slow reader must not stop the connection, which other readers share.
The server limits how much one run may append, and so how much a mailbox can hold.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from ..errors import AgentwsError

T = TypeVar("T")


class Mailbox(Generic[T]):
    """An asynchronous iterator over its items. It can end, with or without an error."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._ended = False
        self._error: AgentwsError | None = None
        self._changed = asyncio.Event()

    def put_nowait(self, item: T) -> None:
        if not self._ended:
            self._items.append(item)
            self._changed.set()

    def clear(self) -> None:
        self._items.clear()

    def end(self, error: AgentwsError | None = None) -> None:
        """Takes no more items. After the remaining ones, iteration stops or raises ``error``."""
        if not self._ended:
            self._ended, self._error = True, error
            self._changed.set()

    def __aiter__(self) -> Mailbox[T]:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._items.popleft()

"""Where what was received waits for whoever reads it.

Unbounded on purpose: a reader that stops reading must not stop the connection that others share.
What it can hold is bounded by the server, which limits what one run may append.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from ..errors import AgentwsError

T = TypeVar("T")


class Mailbox(Generic[T]):
    """An asynchronous iterator over what is put into it, until it ends, well or with an error."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._ended = False
        self._error: AgentwsError | None = None
        self._changed = asyncio.Event()

    @property
    def ended(self) -> bool:
        return self._ended

    def put(self, item: T) -> None:
        if not self._ended:
            self._items.append(item)
            self._changed.set()

    def clear(self) -> None:
        self._items.clear()

    def end(self, error: AgentwsError | None = None) -> None:
        """What is waiting can still be read; then iteration stops, or raises ``error``."""
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

"""What comes in for a new file, within its limits: read in chunks, never as a whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from ..errors import TooLarge
from .types import HEAD


class Intake:
    """The chunks of one new file. Raises TooLarge when they are more than ``limit`` bytes."""

    def __init__(self, chunks: AsyncIterator[bytes], *, limit: int) -> None:
        self._chunks = chunks
        self._limit = limit
        self._waiting: list[bytes] = []

    async def head(self) -> bytes:
        """The first ``HEAD`` bytes, or all of a smaller file. Call it before :meth:`all`."""
        head, size = b"", 0
        async for chunk in self._chunks:
            size += len(chunk)
            self._check(size)
            self._waiting.append(chunk)
            head += chunk[: HEAD - len(head)]
            if len(head) >= HEAD:
                break
        return head

    async def all(self) -> AsyncGenerator[bytes, None]:
        """Every chunk, from the first one."""
        size = 0
        while self._waiting:
            chunk = self._waiting.pop(0)
            size += len(chunk)
            yield chunk
        async for chunk in self._chunks:
            size += len(chunk)
            self._check(size)
            if chunk:
                yield chunk

    def _check(self, size: int) -> None:
        check_size(size, self._limit)


def check_size(size: int, limit: int) -> None:
    """Raises TooLarge for a file of more than ``limit`` bytes."""
    if size > limit:
        raise TooLarge("This file is too large.", expected=f"at most {limit} bytes")

"""How an upload is read: in time, and a bounded number at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from starlette.requests import Request

from ..errors import BadRequest, TimedOut, TooMany
from ..limits import Limits
from .http import BODY_TIMEOUT, check_encoding


class Slots:
    """Limits the concurrent uploads of this node, and those of each caller."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._callers: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<Slots taken={self._callers.total()}>"

    @contextmanager
    def take(self, caller: str) -> Iterator[None]:
        """A slot for the time of the block; raises TooMany."""
        limits = self._limits
        if self._callers[caller] >= limits.max_uploads_per_caller:
            raise TooMany("You have too many uploads at the same time.", retry_after=1.0)
        if self._callers.total() >= limits.max_uploads:
            raise TooMany("There are too many uploads at the same time.", retry_after=1.0)
        self._callers[caller] += 1
        try:
            yield
        finally:
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]


async def body_of(request: Request, *, within: float) -> AsyncGenerator[bytes, None]:
    """The chunks of a body, not decoded.

    Raises TimedOut if no byte arrives for ``BODY_TIMEOUT`` seconds, or the end is not there after
    ``within``; ClientDisconnect if the connection is cut.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + BODY_TIMEOUT)):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise TimedOut("The body took too long to arrive.") from error
        if chunk is None:
            return
        if chunk:
            yield chunk


def check_headers(request: Request) -> None:
    """Raises UnsupportedMedia for a compressed body, BadRequest for a part of one."""
    check_encoding(request)
    if "content-range" in request.headers:
        raise BadRequest("A file can't be uploaded in parts.", expected="no Content-Range")


def declared_length(request: Request) -> int | None:
    """The Content-Length; ``None`` without one. The server has checked that it is a number."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

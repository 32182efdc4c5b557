"""Redis stores for tests: opened on a server, and asked until it has recovered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from agentws.backends.redis import RedisStore
from agentws.errors import Unavailable
from agentws.testing.contract_base import eventually

T = TypeVar("T")


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[RedisStore]:
    store = RedisStore(url, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def recovered(call: Callable[[], Awaitable[T]]) -> T:
    """The result of ``call``, which is made again while the store is unavailable."""

    async def attempt() -> tuple[T] | None:
        try:
            return (await call(),)
        except Unavailable:
            return None

    return (await eventually(attempt))[0]

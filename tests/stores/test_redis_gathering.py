"""Text of many answers shares exchanges with Redis, and none of it waits for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.servers.redis import RedisServer
from tests.stores.pacing import check_paced_streams
from tests.stores.redis_stores import opened


# uvloop's timers end up to a millisecond before their time.
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_paced_appends_of_many_sessions_all_end(
    tmp_path: Path, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def streams(url: str) -> None:
        async with opened(url) as store, asyncio.timeout(30):
            await check_paced_streams(store, pauses=(0.0, 0.0005, 0.001, 0.0019, 0.004))

    with RedisServer(tmp_path) as server:
        run(streams(server.url))

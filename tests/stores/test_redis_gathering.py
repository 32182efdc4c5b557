"""Text of many answers shares exchanges with Redis, and none of it waits for long."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from agentws.testing.contract_base import begin, events, everything
from agentws.testing.oracle import check_tags
from tests.servers.redis import RedisServer
from tests.stores.redis_stores import opened


# uvloop's timers end up to a millisecond before their time.
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_paced_appends_of_many_sessions_all_end(
    tmp_path: Path, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def streams(url: str) -> None:
        async with opened(url) as store, asyncio.timeout(30):
            sessions = [await begin(store) for _ in range(20)]
            chance = random.Random(1)

            async def stream(session: str) -> None:
                for number in range(40):
                    await store.append(session, events(number), commutes=True)
                    await asyncio.sleep(chance.choice((0.0, 0.0005, 0.001, 0.0019, 0.004)))

            await asyncio.gather(*map(stream, sessions))
            # One alone, with nothing else that would wake it.
            await stream(sessions[0])
            for session in sessions:
                check_tags(await everything(store, session))
            assert await store.heads(sessions) == [80, *[40] * 19]

    with RedisServer(tmp_path) as server:
        run(streams(server.url))

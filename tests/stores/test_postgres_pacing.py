"""Text of many answers shares statements, and none of it waits for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from agentws.backends.postgres import PostgresStore, appends
from agentws.testing.contract_base import begin, event
from tests.servers.postgres import PostgresServer
from tests.stores.pacing import check_paced_streams
from tests.stores.postgres_schemas import opened


def statements_of(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets the number of appends of every later statement."""
    sizes: list[int] = []
    make = appends.Appends._make

    async def counted(self: appends.Appends, batch: Any) -> Any:
        sizes.append(len(batch))
        return await make(self, batch)

    monkeypatch.setattr(appends.Appends, "_make", counted)
    return sizes


# uvloop's timers end up to a millisecond before their time.
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_paced_appends_of_many_sessions_all_end(
    postgres: PostgresServer, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def streams() -> None:
        async with opened(postgres.url) as store, asyncio.timeout(60):
            await check_paced_streams(store, pauses=(0.0, 0.001, 0.004, 0.0079, 0.016))

    run(streams())


async def test_text_gathers_and_everything_else_is_sent_at_once(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appends, "GATHER", 60.0)
    async with opened(postgres.url) as store, asyncio.timeout(30):
        sessions = [await begin(store) for _ in range(4)]
        sizes = statements_of(store, monkeypatch)
        await store.append(sessions[0], [event(1)], commutes=True)
        waiting = [
            asyncio.ensure_future(store.append(s, [event(2)], commutes=True)) for s in sessions
        ]
        await asyncio.sleep(0.05)
        assert sizes == [1] and not any(one.done() for one in waiting)
        await store.append(sessions[0], [event(3)])
        await asyncio.gather(*waiting)
        assert sizes[0] == 1 and sum(sizes) == 6


async def test_closing_sends_the_text_that_gathers(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appends, "GATHER", 60.0)
    async with opened(postgres.url) as store, asyncio.timeout(30):
        session = await begin(store)
        await store.append(session, [event(1)], commutes=True)
        last = asyncio.ensure_future(store.append(session, [event(2)], commutes=True))
        await asyncio.sleep(0)
        await store.close()
        assert (await last).position.seq == 2

"""Stores in a schema of their own, on a PostgreSQL server that tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

from agentws.backends.postgres import PostgresStore
from agentws.errors import Unavailable
from agentws.store import Store
from agentws.testing.contract_base import event, eventually, everything
from agentws.testing.log_check import check_tags


def new_schema() -> str:
    return f"t_{token_hex(6)}"


@asynccontextmanager
async def opened(
    url: str, schema: str | None = None, **options: Any
) -> AsyncIterator[PostgresStore]:
    """An open store, in a new schema unless one is given."""
    store = PostgresStore(url, schema=schema or new_schema(), **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


class Writers:
    """Append to one session each until they are stopped, and count what was acknowledged."""

    def __init__(self, store: Store, sessions: list[str]) -> None:
        self.acknowledged: dict[str, list[bytes]] = {session: [] for session in sessions}
        self.failed: dict[str, list[bytes]] = {session: [] for session in sessions}
        self._store = store
        self._stopping = False
        self._tasks = [asyncio.ensure_future(self._write(session)) for session in sessions]

    async def _write(self, session: str) -> None:
        number = 0
        while not self._stopping:
            number += 1
            data = event(number)
            try:
                await self._store.append(session, [data], commutes=bool(number % 3))
                self.acknowledged[session].append(data)
            except Unavailable:
                self.failed[session].append(data)
                await asyncio.sleep(0.02)

    @property
    def count(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    async def more(self, count: int = 50) -> None:
        """Returns when that many further appends were acknowledged."""
        wanted = self.count + count
        await until(lambda: self.count >= wanted)

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def check(self, store: Store) -> None:
        """Every acknowledged event is in the log once, in order; another one at most once."""
        for session, acknowledged in self.acknowledged.items():
            records = await everything(store, session)
            check_tags(records)
            datas = [record.data for record in records]
            assert len(set(datas)) == len(datas)
            assert [data for data in datas if data not in self.failed[session]] == acknowledged


async def until(condition: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return condition()

    await eventually(holds, within=20)


async def refused(call: Callable[[], Awaitable[object]]) -> Unavailable:
    """The Unavailable that the call raises."""
    try:
        await call()
    except Unavailable as error:
        return error
    raise AssertionError("the call did not fail")

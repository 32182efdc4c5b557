"""Appends that were submitted while the database could not be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import msgspec

from agentws.backends.postgres.appends import LANES, Append, Appends
from agentws.backends.postgres.pool import Database
from agentws.errors import Unavailable
from agentws.testing.contract_base import event

Row = tuple[str, str, int, str]


class Made:
    """In place of a connection and its cursor: every append was made."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    async def execute(self, query: str, values: Sequence[Any]) -> Made:
        items = msgspec.json.decode(values[0])
        self._rows = [("made", "epoch", item["seq"] + 1, "tag") for item in items]
        return self

    async def fetchall(self) -> list[Row]:
        return self._rows


class Recovering:
    """In place of the database: its first statements fail, after :meth:`recover`."""

    def __init__(self, *, failing: int, timeout: float = 5.0) -> None:
        self.timeout = timeout
        self.statements = 0
        self._failing = failing
        self._recovered = asyncio.Event()

    def recover(self) -> None:
        self._recovered.set()

    async def run(self, work: Callable[[Any, bool], Awaitable[Any]]) -> Any:
        self.statements += 1
        fails = self.statements <= self._failing
        await self._recovered.wait()
        if fails:
            raise Unavailable()
        return await work(Made(), False)


async def submitted(appends: Appends, count: int) -> list[asyncio.Future[Any]]:
    """Appends to as many sessions, each in a statement of its own if one is free."""
    futures = []
    for number in range(count):
        append = Append(f"session-{number}", [event(number)], None, None, None, None, False)
        futures.append(appends.submit(append))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return futures


async def test_an_append_that_came_later_does_not_fail_with_those_before() -> None:
    database = Recovering(failing=LANES)
    appends = Appends(cast(Database, database), "agentws")
    waiting = await submitted(appends, LANES + 2)
    database.recover()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers[:LANES]] == [Unavailable] * LANES
    assert [answer.position.seq for answer in answers[LANES:]] == [1, 1]  # type: ignore[union-attr]


async def test_an_append_waits_for_one_timeout_of_a_database_that_is_down() -> None:
    database = Recovering(failing=1000, timeout=0.01)
    appends = Appends(cast(Database, database), "agentws")
    waiting = await submitted(appends, LANES + 600)
    await asyncio.sleep(2 * database.timeout)
    database.recover()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}
    assert database.statements == LANES

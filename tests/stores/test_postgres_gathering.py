"""The same question about many sessions is asked in one statement."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest

from agentws.backends.postgres.gathering import HEAVIEST, LANES, LARGEST, Gathering
from agentws.backends.postgres.pool import Connection, Database
from agentws.errors import AgentwsError, NotFound, Unavailable

Work = Callable[[Any, bool], Awaitable[Any]]


class Answering:
    """In place of the database: doubles each number, and refuses the negative ones."""

    def __init__(self) -> None:
        self.timeout = 5.0
        self.statements: list[list[int]] = []
        self.error: Callable[[Sequence[int]], Exception | None] = lambda asked: None
        self._running = asyncio.Event()
        self._running.set()

    def pause(self) -> None:
        self._running.clear()

    def go_on(self) -> None:
        self._running.set()

    async def run(self, work: Work) -> Any:
        return await work(None, False)

    async def ask(self, connection: Connection, asked: Sequence[int]) -> list[int | AgentwsError]:
        self.statements.append(list(asked))
        await self._running.wait()
        error = self.error(asked)
        if error is not None:
            raise error
        return [number * 2 if number >= 0 else NotFound() for number in asked]

    def gathering(self, weigh: Callable[[int], int] = lambda asked: 1) -> Gathering[int, int]:
        return Gathering(cast(Database, self), self.ask, weigh=weigh)


async def test_questions_that_come_at_once_share_statements() -> None:
    database = Answering()
    gathering = database.gathering()
    asked = list(range(LARGEST * 10))
    assert await asyncio.gather(*map(gathering.submit, asked)) == [n * 2 for n in asked]
    assert len(database.statements) == 10


async def test_few_statements_run_at_the_same_time() -> None:
    database = Answering()
    gathering = database.gathering()
    database.pause()
    asking = []
    for number in range(LANES * 3):
        asking.append(gathering.submit(number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert database.statements == [[number] for number in range(LANES)]
    database.go_on()
    assert await asyncio.gather(*asking) == [n * 2 for n in range(LANES * 3)]
    await gathering.close()


async def test_large_answers_do_not_share_a_statement() -> None:
    database = Answering()
    gathering = database.gathering(weigh=lambda asked: HEAVIEST // 2)
    await asyncio.gather(*map(gathering.submit, range(6)))
    assert [len(one) for one in database.statements] == [2, 2, 2]
    heavy = database.gathering(weigh=lambda asked: HEAVIEST * 2)
    assert await asyncio.gather(*map(heavy.submit, range(3))) == [0, 2, 4]


async def test_a_refused_question_does_not_affect_the_others() -> None:
    gathering = Answering().gathering()
    answers = await asyncio.gather(*map(gathering.submit, [1, -1, 2]), return_exceptions=True)
    assert answers[::2] == [2, 4]
    assert isinstance(answers[1], NotFound)


async def test_a_question_that_fails_the_statement_fails_alone() -> None:
    database = Answering()
    database.error = lambda asked: ValueError("seven") if 7 in asked else None
    gathering = database.gathering()
    answers = await asyncio.gather(*map(gathering.submit, [6, 7, 8]), return_exceptions=True)
    assert answers[::2] == [12, 16]
    assert isinstance(answers[1], ValueError)


async def test_a_question_waits_for_one_timeout_of_a_database_that_is_down() -> None:
    database = Answering()
    database.timeout = 0.01
    database.error = lambda asked: Unavailable()
    database.pause()
    gathering = database.gathering()
    asking = [gathering.submit(number) for number in range(LARGEST * LANES * 3)]
    await asyncio.sleep(2 * database.timeout)
    database.go_on()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}
    assert len(database.statements) <= LANES


async def test_a_question_that_came_later_does_not_fail_with_those_before() -> None:
    """The database may be back by now: what was asked while it was down says nothing of it."""
    database = Answering()
    database.error = lambda asked: None if LANES in asked else Unavailable()
    database.pause()
    gathering = database.gathering()
    asking = []
    for number in range(LANES + 1):
        asking.append(gathering.submit(number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    database.go_on()
    *before, later = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(answer) for answer in before} == {Unavailable}
    assert later == LANES * 2


async def test_a_question_that_was_cancelled_is_not_asked() -> None:
    database = Answering()
    gathering = database.gathering()
    database.pause()
    first = gathering.submit(0)
    await asyncio.sleep(0)
    given_up, kept = gathering.submit(1), gathering.submit(2)
    given_up.cancel()
    database.go_on()
    assert (await first, await kept) == (0, 4)
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert [number for one in database.statements for number in one] == [0, 2]


async def test_closing_waits_for_the_answers() -> None:
    database = Answering()
    gathering = database.gathering()
    database.pause()
    asking = gathering.submit(1)
    closing = asyncio.ensure_future(gathering.close())
    await asyncio.sleep(0)
    assert not closing.done()
    database.go_on()
    await closing
    assert asking.done() and await asking == 2

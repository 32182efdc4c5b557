"""Gathering: the same question about many sessions, asked in one statement.

A statement costs this process and the server about as much for one session as for ten. When
thousands of clients come back at once, a statement for each would keep both busy for a minute.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from ...errors import AgentwsError
from .pool import Connection, Database, is_down, take_overdue

LANES: Final = 4
"""Statements at the same time. The questions that come meanwhile gather for the next one."""
LARGEST: Final = 64
"""Questions of one statement."""
HEAVIEST: Final = 512
"""The weight of the questions of one statement, unless one is heavier: so that a large answer
delays few."""

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class _Waiting(NamedTuple, Generic[Asked, Answer]):
    future: asyncio.Future[Answer]
    asked: Asked
    since: float
    """When it was asked, in seconds of the event loop's clock."""


class Gathering(Generic[Asked, Answer]):
    """The queue of one kind of question; ``ask`` answers many, in their order, or refuses some.

    ``weigh`` says how large the answer may be, in events.
    """

    def __init__(
        self,
        database: Database,
        ask: Callable[[Connection, Sequence[Asked]], Awaitable[Sequence[Answer | AgentwsError]]],
        *,
        weigh: Callable[[Asked], int] = lambda asked: 1,
    ) -> None:
        self._database = database
        self._ask = ask
        self._weigh = weigh
        self._queue: deque[_Waiting[Asked, Answer]] = deque()
        self._lanes: set[asyncio.Task[None]] = set()

    def submit(self, asked: Asked) -> asyncio.Future[Answer]:
        """Queues it. If its future is cancelled before it was sent, it is not asked."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._queue.append(_Waiting(future, asked, loop.time()))
        if len(self._lanes) < LANES:
            lane = asyncio.ensure_future(self._run())
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)
        return future

    async def close(self) -> None:
        """Returns when all questions were answered."""
        loop = asyncio.get_running_loop()
        while running := {lane for lane in self._lanes if lane.get_loop() is loop}:
            await asyncio.wait(running)

    async def _run(self) -> None:
        # Questions of the same pass of the event loop go together.
        await asyncio.sleep(0)
        while batch := self._next_batch():
            await self._answer(batch)

    def _next_batch(self) -> list[_Waiting[Asked, Answer]]:
        batch: list[_Waiting[Asked, Answer]] = []
        weight = 0
        while self._queue and len(batch) < LARGEST:
            if self._queue[0].future.done():
                self._queue.popleft()
                continue
            weight += self._weigh(self._queue[0].asked)
            if batch and weight > HEAVIEST:
                break
            batch.append(self._queue.popleft())
        return batch

    async def _answer(self, batch: Sequence[_Waiting[Asked, Answer]]) -> None:
        """Asks all in one statement. If that fails, each gets one of its own."""
        asked = [waiting.asked for waiting in batch]
        answers: Sequence[Answer | Exception]
        try:
            answers = await self._database.run(lambda connection, _: self._ask(connection, asked))
        except Exception as error:
            if is_down(error):
                batch = [*batch, *take_overdue(self._queue, self._database.timeout)]
            elif len(batch) > 1:
                for waiting in batch:
                    await self._answer([waiting])
                return
            answers = [error] * len(batch)
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.future.done():
                continue
            if isinstance(answer, Exception):
                waiting.future.set_exception(answer)
            else:
                waiting.future.set_result(answer)

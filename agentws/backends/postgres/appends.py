"""Appends to PostgreSQL: those of many sessions in one statement, and in one round trip.

The server can't compute the tags of a log, so an append is sent with the tags for the end of the
log that this node saw last. If another node has appended since, the server changes nothing and
returns the end as it is now, and the append is sent again. A lock that is held from here while the
tags are computed would cost every append a second round trip, and a node that is frozen at that
moment would keep all others out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from ...errors import (
    AgentwsError,
    Fenced,
    IdempotencyConflict,
    NotFound,
    Unavailable,
    VersionConflict,
)
from ...protocol.codec import Record, event_type, extend
from ...protocol.gateway_events import CLEARED
from ...protocol.position import GENESIS, Position
from ...store import Appended, Key, Settled
from .pool import Connection, Database, is_down, take_overdue

LANES: Final = 2
"""Statements at the same time. The appends that come meanwhile gather for the next one."""
GATHER: Final = 0.008
"""Seconds from one statement to the next one with text of answers alone. A statement costs as much
as many appends, so that under load they share it; the first one after a pause does not wait."""
ALONE: Final = 2
"""Further statements at the same time, with one append each, which wait for a locked session."""
LARGEST_BATCH: Final = 256
"""Appends of one statement, so that it is short and its locks are held briefly."""
LARGEST_DATA: Final = 4 * 1024 * 1024
"""Bytes of one statement, unless one append is larger."""
KNOWN_ENDS: Final = 10_000
"""Logs whose end is kept. Any other costs its next append a second round trip."""

_REFUSALS: Final[dict[str, Callable[[], AgentwsError]]] = {
    "missing": lambda: NotFound("There is no such session."),
    "fenced": Fenced,
    "conflict": IdempotencyConflict,
    "version": VersionConflict,
    "unknown": lambda: Unavailable("The connection was lost: the append may have been made."),
}

_encode: Final = msgspec.json.Encoder().encode


class Append(NamedTuple):
    """One caller's append."""

    session: str
    events: Sequence[bytes]
    key: Key | None
    fence: str | None
    settled: Settled | None
    expect: int | None
    commutes: bool


class _Waiting(NamedTuple):
    future: asyncio.Future[Appended]
    append: Append
    since: float
    """When it was submitted, in seconds of the event loop's clock."""


class _Item(msgspec.Struct, omit_defaults=True):
    """An append as the server takes it; see ``append_all``. Positions in ``datas`` begin at 1."""

    session: str
    seq: int
    tag: str
    tags: list[str] = []
    starts: list[int] = []
    sizes: list[int] = []
    fence: str | None = None
    key: str | None = None
    digest: str | None = None
    settled: int | None = None
    carried: tuple[int, int] | None = None
    expect: int | None = None
    commutes: bool = False
    cleared: bool = False
    again: bool = False


class _Row(NamedTuple):
    """The server's answer for one item."""

    outcome: str
    epoch: str
    seq: int
    tag: str


class Ends:
    """The ends of logs as this node saw them last: guesses, which the server checks."""

    def __init__(self) -> None:
        self._ends: dict[str, Position] = {}

    def get(self, session: str) -> Position:
        """Without a guess it is the end of an empty log."""
        return self._ends.get(session) or Position("", 0, GENESIS)

    def put(self, session: str, end: Position) -> None:
        # Those that were used last are at the end.
        self._ends.pop(session, None)
        self._ends[session] = end
        if len(self._ends) > KNOWN_ENDS:
            del self._ends[next(iter(self._ends))]


class Appends:
    """The queue of appends of one store. One session's are made in the order they came."""

    def __init__(self, database: Database, schema: str) -> None:
        self.ends: Final = Ends()
        self._database = database
        self._query: Final = f"SELECT * FROM {schema}.append_all(%s::jsonb, %b::bytea)"
        self._queue: deque[_Waiting] = deque()
        self._busy: set[str] = set()
        """Sessions with an append under way: the next must not overtake it."""
        self._lanes: set[asyncio.Task[None]] = set()
        self._alone: set[asyncio.Task[None]] = set()
        self._places: Final = asyncio.Semaphore(ALONE)
        self._gathered_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        """Starts a lane when enough has gathered."""

    def submit(self, append: Append) -> asyncio.Future[Appended]:
        """Queues it. If its future is cancelled before it was sent, it is not made."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Appended] = loop.create_future()
        self._queue.append(_Waiting(future, append, loop.time()))
        if append.commutes:
            self._start_when_gathered()
        else:
            self._start_lane()
        return future

    async def close(self) -> None:
        """Returns when all appends have ended."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._start_lane()
        while running := {one for one in self._lanes | self._alone if one.get_loop() is loop}:
            await asyncio.wait(running)

    def _start_when_gathered(self) -> None:
        if asyncio.get_running_loop().time() >= self._gathered_at:
            self._start_lane()
        else:
            self._start_later()

    def _start_later(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._gathered_at, self._start_gathered)

    def _start_gathered(self) -> None:
        self._timer = None
        self._start_lane()

    def _may_wait(self) -> bool:
        """Whether all that is queued is text of answers, and was not gathered for long enough."""
        early = asyncio.get_running_loop().time() < self._gathered_at
        return early and all(waiting.append.commutes for waiting in self._queue)

    def _start_lane(self) -> None:
        if len(self._lanes) < LANES:
            lane = asyncio.ensure_future(self._run())
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)

    def _start_alone(self, waiting: _Waiting) -> None:
        self._busy.add(waiting.append.session)
        alone = asyncio.ensure_future(self._run_alone(waiting))
        self._alone.add(alone)
        alone.add_done_callback(self._alone.discard)

    async def _run_alone(self, waiting: _Waiting) -> None:
        try:
            async with self._places:
                await self._make([waiting])
        finally:
            self._busy.discard(waiting.append.session)
            self._start_lane()

    async def _run(self) -> None:
        # Appends of the same pass of the event loop go together.
        await asyncio.sleep(0)
        while batch := self._next_batch():
            sessions = {waiting.append.session for waiting in batch}
            self._busy |= sessions
            try:
                locked = await self._make(batch)
            finally:
                self._busy -= sessions
            for waiting in locked:
                self._start_alone(waiting)
            if self._queue and self._may_wait():
                self._start_later()
                return

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        later: list[_Waiting] = []
        size = 0
        self._gathered_at = asyncio.get_running_loop().time() + GATHER
        while self._queue and len(batch) < LARGEST_BATCH and size < LARGEST_DATA:
            waiting = self._queue.popleft()
            if waiting.future.done():
                continue
            if waiting.append.session in self._busy:
                later.append(waiting)
                continue
            batch.append(waiting)
            size += sum(map(len, waiting.append.events))
        self._queue.extendleft(reversed(later))
        return batch

    async def _make(self, batch: Sequence[_Waiting]) -> list[_Waiting]:
        """Makes all appends in one statement. If that fails, each gets one of its own.

        Returns the first one of each session that is locked.
        """
        try:
            plans = _Batch(self.ends, [waiting.append for waiting in batch])
            rows = await self._database.run(partial(self._send, plans))
        except Exception as error:
            if is_down(error):
                batch = [*batch, *take_overdue(self._queue, self._database.timeout)]
            elif len(batch) > 1:
                for waiting in batch:
                    await self._make([waiting])
                return []
            for waiting in batch:
                _fail(waiting.future, error)
            return []
        return self._finish(batch, plans.records, rows)

    async def _send(self, plans: _Batch, connection: Connection, uncertain: bool) -> list[_Row]:
        cursor = await connection.execute(self._query, plans.encoded(again=uncertain))
        return [_Row(*row) for row in await cursor.fetchall()]

    def _finish(
        self, batch: Sequence[_Waiting], planned: Sequence[list[Record]], rows: Sequence[_Row]
    ) -> list[_Waiting]:
        again: list[_Waiting] = []
        locked: dict[str, _Waiting] = {}
        for waiting, records, row in zip(batch, planned, rows, strict=True):
            position = Position(row.epoch, row.seq, row.tag)
            if row.outcome in ("made", "moved"):
                self.ends.put(waiting.append.session, position)
            if row.outcome == "locked" and waiting.append.session not in locked:
                locked[waiting.append.session] = waiting
            elif row.outcome in ("moved", "locked"):
                again.append(waiting)
            elif row.outcome in _REFUSALS:
                _fail(waiting.future, _REFUSALS[row.outcome]())
            elif not waiting.future.done():
                duplicate = row.outcome == "duplicate"
                made = Appended(() if duplicate else records, position, duplicate)
                waiting.future.set_result(made)
        self._queue.extendleft(reversed(again))
        return list(locked.values())


def _fail(future: asyncio.Future[Appended], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


class _Batch:
    """The appends of one statement, with their records; each continues the one before."""

    def __init__(self, ends: Ends, appends: Iterable[Append]) -> None:
        self.records: Final[list[list[Record]]] = []
        self._items: list[_Item] = []
        self._datas: list[bytes] = []
        self._size = 0
        planned: dict[str, Position] = {}
        for append in appends:
            end = planned.get(append.session) or ends.get(append.session)
            records = extend(end, append.events)
            if records:
                last = records[-1]
                planned[append.session] = Position(end.epoch, last.seq, last.tag)
            self.records.append(records)
            self._items.append(self._item(append, end, records))

    def _item(self, append: Append, end: Position, records: Sequence[Record]) -> _Item:
        session, _, key, fence, settled, expect, commutes = append
        item = _Item(session, end.seq, end.tag, fence=fence, expect=expect, commutes=commutes)
        item.tags = [record.tag for record in records]
        item.sizes = [len(record.data) for record in records]
        item.starts = [self._add(record.data) for record in records]
        item.cleared = not commutes and any(event_type(one.data) == CLEARED for one in records)
        if key is not None:
            item.key, item.digest = key.id, key.digest
        if settled is not None:
            item.settled = settled.seq
            item.carried = (self._add(settled.carried), len(settled.carried))
        return item

    def _add(self, data: bytes) -> int:
        start = self._size + 1
        self._datas.append(data)
        self._size += len(data)
        return start

    def encoded(self, *, again: bool) -> tuple[Any, ...]:
        """The values of the statement. ``again``: an attempt may have been committed before."""
        for item in self._items:
            item.again = again
        return _encode(self._items).decode(), b"".join(self._datas)

"""Runs that are larger than a page, divided into parts.

The parts of a run depend only on its messages, so they are the same before and after compaction.
They are numbered by the seqs that follow the run's first event, so a page's ``before`` names a part
as it names a run. A run that has fewer events than parts (one event is larger than events are by
default) has fewer parts, and the oldest part is larger.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ..errors import PositionLost
from ..protocol.answered import AnsweredQuestion
from ..protocol.codec import Record, encode_event, event_type
from ..protocol.messages import Message
from ..protocol.notices import Posted
from ..protocol.parts import divide
from ..protocol.position import Position
from ..protocol.sizes import NOTICES, PAGE
from ..store import Store
from .pages import ENDS, NOTICE, BackwardScan, Page, begins_before, fold_page
from .view import View

_AT_ONCE: Final = 32
"""Events of one read; few, since they are large."""


class BoundedPages:
    """The pages of one session's log that are bounded in bytes.

    To divide a run that is larger than a page takes several times its size in memory. So one run is
    read at a time, and the last page is cached: many clients may open a session at once.
    """

    __slots__ = ("_epoch", "_key", "_lock", "_page", "_session", "_store")

    def __init__(self, store: Store, session: str, epoch: str) -> None:
        self._store = store
        self._session = session
        self._epoch = epoch
        self._lock: asyncio.Lock | None = None
        self._key: tuple[int, int, View] | None = None
        self._page: Page | None = None

    async def before(
        self, before: int, *, messages: int, size: int, view: View, event_size: int
    ) -> Page:
        """The newest ``messages`` before that seq, or fewer: about ``size`` bytes at most.

        For a run that is larger: its last part, or the part before the one that ``before`` names.
        An active run has no parts; the page then holds what is older.
        """
        scan = BackwardScan(messages=messages, view=view, size=size, event_size=event_size)
        page = await scan.page(self._store, self._session, before)
        if page is not None:
            return page
        del scan
        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            return await self._part_before(before, size, view)

    async def _part_before(self, before: int, size: int, view: View) -> Page:
        key = before, size, view
        while self._page is None or self._key != key:
            scan = BackwardScan(messages=1, view=view, size=size)
            start = await scan.to_start(self._store, self._session, before)
            records = scan.newest_first[::-1]
            try:
                if scan.inside_run and not await self._read_to_end(records):
                    return await self._older_than(start, size, view)
            except PositionLost as lost:
                if lost.reason != "compacted":
                    raise
                # Compaction has removed the event that was read last: start again.
                continue
            if not scan.inside_run and _has_no_room(scan.newest_first[0], scan.weight):
                # This page has only what follows the run; the next page begins with the run.
                return fold_page(scan.newest_first[:1], scan.newest_first[0].seq)
            number = before - start if scan.inside_run else None
            self._page = await self._part(records, start, number, size, view)
            self._key = key
        return self._page

    async def _older_than(self, start: int, size: int, view: View) -> Page:
        """The page before an active run, which has no parts yet."""
        scan = BackwardScan(messages=1, view=view, size=size)
        page = await scan.page(self._store, self._session, start)
        return page or await self._part_before(start, size, view)

    async def _part(
        self, records: list[Record], start: int, number: int | None, size: int, view: View
    ) -> Page:
        """That part of the run in ``records``; the last part without ``number``."""
        store, session = self._store, self._session
        run = fold_page(records[::-1], None)
        parts = divide(run.messages, size, most=_last_of(records).seq - start + 1)
        number = len(parts) if number is None else min(number, len(parts))
        notices = _notices_of(run, parts, number - 1)
        answered = _answered_of(run, parts, number - 1)
        if number > 1:
            return Page(parts[number - 1], start + number - 1, notices, run.times, answered)
        if await begins_before(store, session, start, view):
            return Page(parts[0], start, notices, run.times, answered)
        # Only notices are older: they belong to this page.
        scan = BackwardScan(messages=1, view=view, size=size)
        oldest = await scan.page(store, session, start)
        older = oldest.notices if oldest else ()
        return Page(parts[0], None, [*older, *notices], run.times, answered)

    async def _read_to_end(self, records: list[Record]) -> bool:
        """Reads the rest of the run in ``records`` into them; False if the run is still active."""
        while True:
            last = Position(self._epoch, records[-1].seq, records[-1].tag)
            page = await self._store.read(self._session, after=last, limit=_AT_ONCE)
            for record in page:
                records.append(record)
                if event_type(record.data) in ENDS:
                    return True
            if len(page) < _AT_ONCE:
                return False


def _has_no_room(newest: Record, weight: int) -> bool:
    """Whether it is a notice too large for a page that also has a part of the run before it."""
    large = event_type(newest.data) == NOTICE and len(newest.data) > NOTICES
    return large and weight > PAGE + NOTICES


def _last_of(records: list[Record]) -> Record:
    """The last event of the run in ``records``; notices may follow it."""
    for record in reversed(records):
        if event_type(record.data) in ENDS:
            return record
    return records[-1]


def _ends_of(parts: list[list[Message]]) -> dict[str, int]:
    """The last part that has each message."""
    return {message.id: index for index, part in enumerate(parts) for message in part}


def _answered_of(run: Page, parts: list[list[Message]], at: int) -> list[AnsweredQuestion]:
    """The answered questions of the part ``at``, which has the message before the answer."""
    ends = _ends_of(parts)
    return [one for one in run.answered if ends.get(one.after or "", 0) == at]


def _notices_of(run: Page, parts: list[list[Message]], at: int) -> list[Posted]:
    """The newest notices of the part ``at``; a notice belongs to the part with its message."""
    ends = _ends_of(parts)
    here = [one for one in run.notices if ends.get(one.after or "", 0) == at]
    left = NOTICES
    for count, one in enumerate(reversed(here)):
        left -= len(encode_event(one.event))
        if left < 0 and count:
            return here[-count:]
    return here

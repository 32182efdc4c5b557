"""How a run's output gets into the log: the first event at once, what follows gathered.

While an append is in flight, and for a moment after it, events wait; adjacent deltas of one
message become one event. A burst is one append; a trickle stays a trickle. Text that is too long
for one event is cut into several, and any other event that is too large is refused.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ..errors import AgentwsError, EventTooLarge, Fenced, Internal, TooLarge, Unavailable
from ..protocol import events as e
from ..protocol.codec import Entry, check_sizes, entry
from ..protocol.events import Event, RunError, RunFinished, TextMessageContent
from ..protocol.merge import LARGEST, LARGEST_HEAD, cut_delta, split_delta
from ..protocol.messages import InterruptOutcome
from ..protocol.sizes import QUESTIONS
from ..sessions.session import Session
from ..tasks.tasks import Tasks

logger: Final = logging.getLogger("agentws.run")

ROOM: Final = 256 * 1024
"""Characters that may wait for the store before the agent has to."""
CUT: Final = (
    e.TextMessageContent,
    e.TextMessageChunk,
    e.ReasoningMessageContent,
    e.ReasoningMessageChunk,
    e.ToolCallArgs,
    e.ToolCallChunk,
)
"""The events whose text is cut where it is too long for one."""
PATIENCE: Final = 30.0
"""Seconds for which an append is tried again while the store does not answer."""


class RunWriter:
    """Appends one run's events in order, under its lease's fence.

    ``pace`` says for how many seconds after an append the next events gather. ``max_size`` bounds
    the whole run, ``max_event_size`` the frame of each event that is not text, both in bytes.
    """

    __slots__ = (
        "_batch",
        "_closed",
        "_error",
        "_fence",
        "_expect",
        "_flushed_at",
        "_in_flight",
        "_largest",
        "_left",
        "_loop",
        "_pace",
        "_pieces",
        "_run",
        "_scheduled",
        "_session",
        "_tasks",
        "_text_id",
        "_waiters",
        "_waiting_size",
        "pressing",
    )

    def __init__(
        self,
        session: Session,
        *,
        run: str,
        fence: str,
        tasks: Tasks,
        pace: Callable[[], float],
        max_size: int,
        max_event_size: int,
    ) -> None:
        self._session = session
        self._run = run
        self._fence = fence
        self._tasks = tasks
        self._pace = pace
        self._left = max_size
        self._largest = max_event_size
        self.pressing = False
        """Whether the agent has to see :meth:`room` before it says more."""
        self._loop = asyncio.get_running_loop()
        self._batch: list[Entry] = []
        self._pieces: list[str] = []
        self._text_id = ""
        self._waiting_size = 0
        self._expect: int | None = None
        """The log's end that the run's start was decided on, until that is appended."""
        self._flushed_at = 0.0
        self._scheduled = False
        self._in_flight = False
        self._closed = False
        self._error: AgentwsError | None = None
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def max_event_size(self) -> int:
        """Bytes of the frame of an event that is not text."""
        return self._largest

    @property
    def large(self) -> int:
        """From this size on, an item is to be checked before it is taken."""
        return min(LARGEST, self._largest) // 2

    @property
    def shared_state(self) -> Any:
        """The session's state, as far as its log says by now."""
        return self._session.outline.state

    async def begin(self, started: Event, *, expect: int) -> None:
        """Appends the run's first event, if the log's end is still the one it was decided on.

        An agent costs money: it is not called for a run that the log does not know. Where nothing
        can come between, the event goes with what the agent says at once, or by
        :meth:`write_start` before anything else is decided. Raises VersionConflict, and what an
        append raises.
        """
        if self._session.exclusive:
            self._expect = expect
            self.write_event(started)
        else:
            await self._append([entry(started, run=self._run)], expect=expect)

    def write_start(self) -> None:
        """Appends the run's first event now, if it is not in the log yet."""
        if self._expect is not None:
            self._flush()

    # What the run says

    def write_text(self, message_id: str, delta: str) -> None:
        """The next stretch of an open message's text."""
        if message_id != self._text_id:
            self._seal()
            self._text_id = message_id
        self._pieces.append(delta)
        self._waiting_size += len(delta)
        if not self._scheduled:
            self._schedule()
        elif self._waiting_size > ROOM:
            self.pressing = True

    def write_event(self, event: Event) -> None:
        """The next event. It is encoded now, so that changing it later changes nothing.

        Whether it is too large is for :meth:`check_size` to say: what ends a run is always written.
        """
        if self._pieces:
            self._seal()
        made = entry(event, run=self._run)
        if len(made.data) <= LARGEST:
            self._batch.append(made)
        else:
            self._put_large(made)
        self._waiting_size += len(made.data)
        if not self._scheduled:
            self._schedule()
        elif self._waiting_size > ROOM:
            self.pressing = True

    def _seal(self) -> None:
        """Makes one event of the text gathered so far."""
        if self._pieces:
            delta = "".join(self._pieces)
            self._pieces = []
            event = TextMessageContent(message_id=self._text_id, delta=delta)
            made = entry(event, run=self._run)
            if len(made.data) <= LARGEST:
                self._batch.append(made)
            else:
                self._put_large(made)

    def _put_large(self, made: Entry) -> None:
        """Text as several events; any other event as it is."""
        head, text = split_delta(made.data)
        if head is None:
            self._batch.append(made)
        else:
            self._batch += [Entry(data, None, made.run) for data in cut_delta(head, text)]

    # Into the store

    def _schedule(self) -> None:
        """Arranges the next flush; ``_scheduled`` holds until the append it begins is over."""
        self._scheduled = True
        due = self._flushed_at + self._pace()
        if self._loop.time() >= due:
            self._loop.call_soon(self._flush)
        else:
            self._loop.call_at(due, self._flush)

    def _flush(self) -> None:
        batch = self._next_batch()
        if batch:
            immediate = self._session.immediate
            # The calls of a store that waits are traced as what they are: the run's.
            context = None if immediate else contextvars.copy_context()
            writing = self._write(batch)
            self._tasks.ask(writing, name="append", immediate=immediate, context=context)

    def _next_batch(self) -> list[Entry]:
        """What waits, to be appended now by who asks; empty while an append is in flight."""
        if self._in_flight or self._closed or self._error is not None:
            return []
        self._seal()
        batch, self._batch = self._batch, []
        self._left -= self._waiting_size
        self._waiting_size = 0
        self.pressing = self._left < 0
        if batch:
            self._in_flight = self._scheduled = True
        return batch

    async def _write(self, batch: list[Entry]) -> None:
        expect, self._expect = self._expect, None
        try:
            await self._append(batch, expect=expect)
        except AgentwsError as error:
            self._error = error
        except Exception as error:
            logger.exception("append of run %s failed", self._run)
            self._error = Internal()
            self._error.__cause__ = error
        except BaseException:
            # What was not written must not be followed by what comes after it.
            self._error = Unavailable()
            raise
        finally:
            self.pressing = self.pressing or self._error is not None
            self._in_flight = self._scheduled = False
            self._flushed_at = self._loop.time()
            if self._waiters:
                self._wake()
            if self._error is None and (self._pieces or self._batch):
                self._schedule()

    async def _append(self, batch: list[Entry], *, expect: int | None = None) -> None:
        """Appends once, however often tried: a lost acknowledgement is looked up, not redone."""
        session = self._session
        before = session.head.seq
        try:
            await session.append_entries(batch, fence=self._fence, expect=expect)
            return
        except Unavailable as unavailable:
            error = unavailable
        deadline = self._loop.time() + PATIENCE
        pause = 0.05
        while self._loop.time() < deadline:
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(2 * pause, 1.0)
            try:
                if not await self._landed(batch, before):
                    await session.append_entries(batch, fence=self._fence, expect=expect)
                return
            except Unavailable as again:
                error = again
        raise error

    async def _landed(self, batch: list[Entry], after: int) -> bool:
        """Whether an append that seemed to fail did reach the log."""
        await self._session.catch_up()
        records = await self._session.read_from(after)
        # All of it or nothing is there, and the last one is the nearest to be read.
        landed = any(record.data == batch[-1].data for record in records)
        if landed:
            self._session.announce()
        return landed

    # Waiting

    def check_size(self, event: Event, size: int) -> None:
        """Raises TooLarge for what is not to be written: for want of room, or EventTooLarge."""
        self.check_room(size)
        if not isinstance(event, CUT):
            check_sizes([entry(event, run=self._run)], self._largest)
            return
        beside = len(entry(msgspec.structs.replace(event, delta=""), run=self._run).data)
        if beside > LARGEST_HEAD:
            raise EventTooLarge(
                f"Beside its text this {event.__struct_config__.tag} has {beside} bytes;"
                f" at most {LARGEST_HEAD} fit beside a piece of text."
            )

    def check_end(self, event: RunFinished | RunError) -> None:
        """Raises EventTooLarge for what is too large to end a run.

        Its questions join those that are open: a snapshot says all of them beside the messages.
        """
        check_sizes([entry(event, run=self._run)], self._largest)
        if isinstance(event, RunFinished) and isinstance(event.outcome, InterruptOutcome):
            known = self._session.outline.interrupts.values()
            size = len(msgspec.json.encode([*known, *event.outcome.interrupts]))
            if size > QUESTIONS:
                raise EventTooLarge(
                    f"The open questions of this session would have {size} bytes;"
                    f" at most {QUESTIONS} are kept."
                )

    def check_room(self, size: int) -> None:
        """Raises TooLarge when there is no room for so much at once."""
        if self._waiting_size + size > self._left:
            raise TooLarge("The answer is too long.")

    async def room(self) -> None:
        """Returns when the agent may go on; raises TooLarge, and what made writing fail."""
        while True:
            self._raise()
            if self._left < 0:
                raise TooLarge("The answer is too long.")
            if not self.pressing:
                return
            await self._next_write()

    async def drain(self) -> None:
        """Returns when the store has everything; raises what made writing fail."""
        while True:
            self._raise()
            if not self._in_flight:
                if self._session.immediate:
                    await self._write_now()
                else:
                    self._flush()
                self._raise()
            if not self._in_flight:
                return
            await self._next_write()

    async def _write_now(self) -> None:
        """Appends without a task, which a store that never waits does not need."""
        batch = self._next_batch()
        if batch:
            await self._write(batch)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise Fenced()

    async def _next_write(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """Nothing more is written: the run goes on without a voice."""
        self._closed = True
        self._batch, self._pieces = [], []
        self._wake()

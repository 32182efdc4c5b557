"""How a run's output gets into the log: the first event at once, later ones in batches.

While an append is in flight, and for a moment after it, events are gathered (batching), and
adjacent deltas of one message become one event (coalescing). So a burst becomes one append, and
slow output is appended piece by piece. Text that is too long for one event is split into several;
any other event that is too large is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Final

import msgspec

from ..errors import AgentwsError, EventTooLarge, Fenced, Internal, TooLarge, Unavailable
from ..protocol import events as e
from ..protocol.codec import Entries, Entry, check_sizes
from ..protocol.events import Event, RunError, RunFinished, TextMessageContent
from ..protocol.merge import LARGEST, LARGEST_HEAD, cut_delta, split_delta
from ..protocol.messages import InterruptOutcome
from ..protocol.sizes import QUESTIONS
from ..sessions.session import Session
from ..store import Appended
from ..tasks.tasks import Tasks
from .appending import append_again
from .deciding import Command, decide
from .validation import check_ids

logger: Final = logging.getLogger("agentws.run")

MAX_PENDING: Final = 256 * 1024
"""Characters that may wait for the store before the agent is made to wait (backpressure)."""
SPLITTABLE: Final = (
    e.TextMessageContent,
    e.TextMessageChunk,
    e.ReasoningMessageContent,
    e.ReasoningMessageChunk,
    e.ToolCallArgs,
    e.ToolCallChunk,
)
"""The events whose text is split if it is too long for one event."""


class RunWriter:
    """Appends one run's events in order, under the fencing token of its lease.

    ``context`` has the context variables that the agent sees. ``pace`` returns for how many seconds
    after an append the next events are gathered. In bytes, ``max_size`` bounds the whole run, and
    ``max_event_size`` the frame of each event but text.
    """

    __slots__ = (
        "_batch",
        "_closed",
        "_context",
        "_entries",
        "_error",
        "_expect",
        "_fence",
        "_flushed_at",
        "_in_flight",
        "_left",
        "_loop",
        "_pace",
        "_pending_size",
        "_pieces",
        "_scheduled",
        "_tasks",
        "_text_id",
        "_waiters",
        "backpressure",
        "large",
        "max_event_size",
        "run",
        "session",
    )

    def __init__(
        self,
        session: Session,
        *,
        run: str,
        fence: str,
        tasks: Tasks,
        context: Context,
        loop: asyncio.AbstractEventLoop,
        pace: Callable[[], float],
        max_size: int,
        max_event_size: int,
    ) -> None:
        self.session = session
        self.run = run
        self._fence = fence
        self._tasks = tasks
        self._context = context
        self._pace = pace
        self.max_event_size = max_event_size
        """Bytes of the frame of an event that is not text."""
        self.large = min(LARGEST, max_event_size) // 2
        """The size from which an item must be checked before it is written."""
        self.backpressure = False
        """Whether the agent must await :meth:`wait_for_room` before it writes more."""
        self._loop = loop
        self._entries = Entries(run)
        self._batch: list[Entry] = []
        self._text_id = ""
        self._pieces: list[str] = []
        self._pending_size = 0
        self._left = max_size
        self._expect: int | None = None
        """The expected version for the run's first event, until that is appended."""
        self._flushed_at = 0.0
        self._scheduled = False
        """Whether no flush needs scheduling: one is scheduled, an append is in flight, or the
        output is held back."""
        self._in_flight = False
        self._closed = False
        self._error: AgentwsError | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def hold(self) -> None:
        """Holds back what is written until :meth:`begin` or :meth:`hold_start`."""
        self._scheduled = self.backpressure = True

    def check_held(self) -> None:
        """Raises TooLarge if no more can be held back."""
        if self._pending_size > MAX_PENDING:
            raise TooLarge("The agent writes too much while it waits for an answer.")

    def hold_start(self, started: Event, *, expect: int) -> None:
        """:meth:`begin` where no other append can come first (an exclusive store).

        The event is held back, and appended with the agent's first output, or by
        :meth:`write_start`.
        """
        first = self._entries.of(started)
        self._expect = expect
        self._batch.insert(0, first)
        self._pending_size += len(first.data)
        self._begun()

    async def begin(self, started: Event, *, expect: int) -> None:
        """Appends the run's first event, with ``expect`` as its expected version.

        An agent costs money: it is not called before its run is in the log. Raises VersionConflict,
        and what an append raises.
        """
        session, first = self.session, self._entries.of(started)
        known, fence = session.head.seq, self._fence
        try:
            await session.append_entries([first], fence=fence, expect=expect)
        except Unavailable as error:
            await append_again(session, [first], error, known=known, fence=fence, expect=expect)
        self._begun()

    def _begun(self) -> None:
        self._scheduled = self.backpressure = False
        if self._waiters:
            self._wake_waiters()

    @property
    def begun_at(self) -> int:
        """The seq of the run's first event."""
        self.write_start()
        return self.session.run_base.seq + 1

    def write_start(self) -> None:
        """Appends the run's first event now, if it is not in the log yet."""
        if self._expect is not None:
            self._flush()

    # Output of the agent

    def write_text(self, message_id: str, delta: str) -> None:
        """Writes the next piece of an open message's text."""
        if message_id != self._text_id:
            if self._pieces:
                self._seal()
            self._text_id = message_id
        self._pieces.append(delta)
        self._pending_size += len(delta)
        if self._pending_size > MAX_PENDING:
            self.backpressure = True

    def write_event(self, event: Event) -> None:
        """Writes the next event. It is encoded now: later changes to it have no effect.

        Does not check its size, see :meth:`check_size`: the end of a run is always written.
        """
        if self._pieces:
            self._seal()
        encoded = self._entries.of(event)
        size = len(encoded.data)
        if size <= LARGEST:
            self._batch.append(encoded)
        else:
            self._add_large(encoded)
        self._pending_size += size
        if self._pending_size > MAX_PENDING:
            self.backpressure = True

    def _seal(self) -> None:
        """Makes one event of the text gathered so far (coalescing)."""
        delta = "".join(self._pieces)
        self._pieces = []
        event = TextMessageContent(message_id=self._text_id, delta=delta)
        encoded = self._entries.of(event)
        if len(encoded.data) <= LARGEST:
            self._batch.append(encoded)
        else:
            self._add_large(encoded)

    def _add_large(self, encoded: Entry) -> None:
        """Adds text as several events, and any other event as it is."""
        head, text = split_delta(encoded.data)
        if head is None:
            self._batch.append(encoded)
        else:
            self._batch += [Entry(data, None, encoded.run) for data in cut_delta(head, text)]

    # Into the store

    def flush(self) -> None:
        """Appends what was written: now, or when it is due. Called whenever the agent waits.

        So what an agent yields without waiting is one append.
        """
        if self._scheduled or not (self._pieces or self._batch):
            return
        due = self._flushed_at + self._pace()
        if self._loop.time() >= due:
            self._flush()
        else:
            self._scheduled = True
            self._loop.call_at(due, self._flush)

    def flush_soon(self) -> None:
        """:meth:`flush` in the next turn of the event loop, with all that is written until then."""
        self._loop.call_soon(self.flush)

    def _flush(self) -> None:
        batch = self._next_batch()
        if batch:
            immediate = self.session.immediate
            # Tracing must show the calls of a store as those of the run.
            context = None if immediate else self._context.copy()
            writing = self._write(batch)
            self._tasks.call_store(
                writing, name="append", immediate=immediate, context=context, loop=self._loop
            )

    def _next_batch(self) -> list[Entry]:
        """Takes the events to be appended now; empty while an append is in flight."""
        if self._in_flight or self._closed or self._error is not None:
            return []
        if self._pieces:
            self._seal()
        batch, self._batch = self._batch, []
        self._left -= self._pending_size
        self._pending_size = 0
        self.backpressure = self._left < 0
        if batch:
            self._in_flight = self._scheduled = True
        return batch

    async def _write(self, batch: list[Entry]) -> None:
        session, fence = self.session, self._fence
        known, expect, self._expect = session.head.seq, self._expect, None
        try:
            try:
                await session.append_entries(batch, fence=fence, expect=expect)
            except Unavailable as error:
                await append_again(session, batch, error, known=known, fence=fence, expect=expect)
        except AgentwsError as error:
            self._error = error
        except Exception as error:
            logger.exception("append of run %s failed", self.run)
            self._error = Internal()
            self._error.__cause__ = error
        except BaseException:
            # A batch that may be missing in the log must not be followed by the next one.
            self._error = Unavailable()
            raise
        finally:
            self._in_flight = self._scheduled = False
            self._flushed_at = self._loop.time()
            if self._waiters:
                self._wake_waiters()
            if self._error is not None:
                self.backpressure = True
            elif self._pieces or self._batch:
                self.flush()

    # Limits

    def check_size(self, event: Event, size: int) -> None:
        """Raises TooLarge if the run has no room left, EventTooLarge for a large event."""
        self.check_room(size)
        if not isinstance(event, SPLITTABLE):
            check_ids(event)
            check_sizes([self._entries.of(event)], self.max_event_size)
            return
        beside = len(self._entries.of(msgspec.structs.replace(event, delta="")).data)
        if beside > LARGEST_HEAD:
            raise EventTooLarge(
                f"Without its text this {event.__struct_config__.tag} has {beside} bytes;"
                f" at most {LARGEST_HEAD} are allowed."
            )

    def check_terminal(self, event: RunFinished | RunError) -> None:
        """Raises EventTooLarge for a terminal event that is too large.

        Its questions are added to the open ones, and one snapshot must hold all of them.
        """
        check_sizes([self._entries.of(event)], self.max_event_size)
        if isinstance(event, RunFinished) and isinstance(event.outcome, InterruptOutcome):
            known = self.session.outline.interrupts.values()
            size = len(msgspec.json.encode([*known, *event.outcome.interrupts]))
            if size > QUESTIONS:
                raise EventTooLarge(
                    f"The open questions of this session would have {size} bytes;"
                    f" at most {QUESTIONS} are kept."
                )

    def check_room(self, size: int) -> None:
        """Raises TooLarge if ``size`` more bytes would exceed the size of the run."""
        if self._pending_size + size > self._left:
            raise TooLarge("The answer is too long.")

    async def wait_for_room(self) -> None:
        """Returns when the agent may write more (backpressure).

        Raises TooLarge, and the error that made an append fail.
        """
        while True:
            self._check_open()
            if self._left < 0:
                raise TooLarge("The answer is too long.")
            if not self.backpressure:
                return
            await self._wait_for_append()

    async def drain(self) -> None:
        """Returns when everything is in the store; raises the error that made an append fail."""
        while True:
            if not self.session.immediate:
                self._flush()
            elif batch := self._next_batch():
                # The store never waits, so that no task is needed.
                await self._write(batch)
            self._check_open()
            if not self._in_flight:
                return
            await self._wait_for_append()

    async def decide(self, command: Command) -> Appended | None:
        """:func:`.deciding.decide` under the fence, after everything that was written before."""
        await self.drain()
        return await decide(self.session, command, fence=self._fence)

    def _check_open(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise Fenced()

    async def _wait_for_append(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """Drops what is not appended yet, and all later output."""
        self._closed = True
        self._batch, self._pieces = [], []
        self._wake_waiters()

"""A session is a log.

This is the log as one node sees it: append, follow and read. The events are in the store. What they
say about the session as a whole is its projection, see :mod:`agentws.sessions.projection`. A
session in memory caches the newest events, encoded, so that a client that reconnects after a moment
gets its replay without a read of the store. A connection is a cursor: a follower holds a position
and is rung when there may be more to read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

from ..errors import Conflict, IdempotencyConflict, LostReason, PositionLost
from ..protocol.codec import Entry, Record, check_sizes, entry, entry_of, event_type
from ..protocol.events import Event
from ..protocol.messages import Message
from ..protocol.position import Position
from ..protocol.sizes import EVENT, TEXT
from ..store import PAGE, Appended, Head, Key, SessionInfo, Settled, Store
from . import conversation, turns
from .command_turn import CommandTurn
from .conversation import Snapshot
from .follower import Follower
from .held import HeldLease
from .large_runs import BoundedPages
from .pages import Page, page_before
from .projection import DECODED_TYPES, Projection, applied_in
from .shared_read import SharedRead
from .tail import Tail
from .turns import Turn

logger: Final = logging.getLogger("agentws")

MISSED: Final = 32
"""Events that are read together with the check of a position, if none are in memory: most clients
that reconnect have missed fewer."""


class Session(Projection):
    """One log, while it has a follower or a run on this node; see :meth:`Sessions.sweep`."""

    __slots__ = (
        "_pages",
        "_reads",
        "_store",
        "_tail",
        "on_append",
        "followers",
        "held",
        "id",
        "immediate",
        "max_event_size",
        "on_outline_change",
        "turn",
        "used",
    )

    def __init__(
        self,
        info: SessionInfo,
        store: Store,
        head: Position,
        *,
        tail_size: int,
        settled: Settled | None = None,
    ) -> None:
        super().__init__(info, head, settled)
        self.id = info.id
        self.immediate: Final = store.immediate
        """Whether a call of the store never waits; see :attr:`Store.immediate`."""
        self.followers: tuple[Follower, ...] = ()
        """Rung when the log has grown; see :meth:`follow`."""
        self.on_outline_change: Callable[[Session], None] | None = None
        """Called after the outline has changed; decides what runs next."""
        self.on_append: Callable[[Session], None] | None = None
        """Called after an append by this node, to ring the bell for other nodes."""
        self.used = 0.0
        """When it was last followed, run or written, in seconds of the loop's clock."""
        self.held: HeldLease | None = None
        """The lease that this node runs the session under, or had when it lost it."""
        self.turn: CommandTurn | None = None
        """``None`` while no command is being decided."""
        self.max_event_size = EVENT
        """The most bytes of the frame of an event that is not text."""
        self._store = store
        self._tail = Tail(tail_size)
        self._reads = SharedRead()
        self._pages: BoundedPages | None = None

    def __repr__(self) -> str:
        return f"<Session {self.id} head={self.head.seq} followers={len(self.followers)}>"

    def appends_alone(self) -> bool:
        """Whether no append by another node can come between a decision and its append."""
        return self.immediate and self._store.exclusive

    @classmethod
    async def load(
        cls, info: SessionInfo, store: Store, *, tail_size: int, head: Head | None = None
    ) -> Session:
        """The session as the store has it: a cold start. Reads the log from its checkpoint on.

        ``head``: the end of the log, if the caller has read it.
        """
        head = head or await store.head(info.id)
        settled = head.settled
        session = cls(info, store, head.position, tail_size=tail_size, settled=settled)
        if settled.seq < head.position.seq:
            session.head = await conversation.position_at(
                store, info.id, head.position, settled.seq
            )
            await session._read_new()
        return session

    # Appending

    async def append(
        self,
        events: Sequence[Event],
        *,
        run: str | None = None,
        key: Key | None = None,
        fence: str | None = None,
    ) -> Appended:
        """Appends ``events``, all or none; when this returns, the store has them.

        Raises EventTooLarge, and what :meth:`Store.append` raises. Followers are rung before it
        returns.
        """
        entries = [entry(event, run=run) for event in events]
        return await self.append_entries(entries, key=key, fence=fence)

    async def find(
        self, key: Key, *, conflict: type[Conflict] = IdempotencyConflict
    ) -> Appended | None:
        """The earlier append under this idempotency key; raises ``conflict`` for another body."""
        try:
            return await self._store.find(self.id, key)
        except IdempotencyConflict as error:
            raise conflict() from error

    async def append_entries(
        self,
        entries: Sequence[Entry],
        *,
        key: Key | None = None,
        fence: str | None = None,
        expect: int | None = None,
    ) -> Appended:
        """:meth:`append` for encoded events. A run (``fence``) has checked the sizes of its own.

        Raises Fenced, without asking the store, after the local deadline of the lease.
        """
        if fence is None:
            check_sizes(entries, self.max_event_size)
        elif self.held is not None:
            self.held.check()
        datas = [one.data for one in entries]
        applied = applied_in(entries)
        done = await self._store.append(
            self.id, datas, key=key, fence=fence, expect=expect, commutes=not applied
        )
        records = done.records
        if not records:
            # The first append may have been reported as failed: then its events are unknown here.
            if done.duplicate and done.position.seq > self.head.seq:
                await self.catch_up()
            return done
        if records[0].seq == self.head.seq + 1:
            self.apply(records, entries, applied, head=done.position)
            self._tail.add(records, sum(map(len, datas)))
            self._notify()
        elif records[-1].seq > self.head.seq:
            await self.catch_up()
        self.announce()
        return done

    async def settle(self, *, fence: str) -> None:
        """Stores a checkpoint at the head, where nothing is open, for later cold starts."""
        await self._store.append(self.id, [], fence=fence, settled=self.checkpoint())

    def announce(self) -> None:
        """Rings for other nodes: the log has grown, or may have, by an append that failed."""
        if self.on_append is not None:
            self.on_append(self)

    async def catch_up(self) -> None:
        """Reads the events of the store that are not known here yet.

        When this returns, everything that was in the store when it was called is known.
        """
        await self._reads.run(self._read_new)

    async def _read_new(self) -> None:
        try:
            while await self._read_page() == PAGE:
                pass
        except PositionLost as error:
            logger.warning("the log of session %s was lost or replaced: %s", self.id, error.reason)
            self.invalidate()
            raise

    async def _read_page(self) -> int:
        """Applies the next page of the log; returns how many records it had."""
        records = await self._store.read(self.id, after=self.head if self.head.seq else None)
        fresh = [record for record in records if record.seq > self.head.seq]
        if fresh:
            entries = [entry_of(record.data, DECODED_TYPES) for record in fresh]
            last = Position(self.head.epoch, fresh[-1].seq, fresh[-1].tag)
            self.apply(fresh, entries, applied_in(entries), head=last)
            self._tail.add_read(fresh)
            self._notify()
        return len(records)

    def _notify(self) -> None:
        """Rings all followers, and reports a changed outline."""
        for follower in self.followers:
            try:
                follower.ring()
            except Exception:
                # A follower that fails must not stop the others or the writer.
                logger.exception("a follower of session %s failed", self.id)
        if self.outline_changed:
            self.outline_changed = False
            if self.on_outline_change is not None:
                self.on_outline_change(self)

    def forget_tail(self) -> None:
        """Empties the cache of encoded events; readers read the store instead."""
        self._tail.clear()

    def invalidate(self) -> None:
        """Tells all followers that the log was deleted, lost or replaced."""
        for follower in self.followers:
            follower.lost()

    # Following

    def follow(self, follower: Follower) -> None:
        """Rings ``follower`` from now on. Follow before reading, so that no event is missed."""
        self.followers = (*self.followers, follower)

    def unfollow(self, follower: Follower) -> None:
        """Ends :meth:`follow`; does nothing for one that does not follow."""
        followers = self.followers
        if follower in followers:
            at = followers.index(follower)
            self.followers = followers[:at] + followers[at + 1 :]

    def tail_after(self, position: Position) -> Sequence[Record] | None:
        """The replay after ``position``, which :meth:`check` accepts; ``None`` if not in memory.

        Empty for a position beyond the head, too: its reader has read the store, of which this node
        does not know as much yet.
        """
        if position.seq >= self.head.seq:
            return ()
        return self._tail.after(position.seq)

    @property
    def event_size(self) -> int:
        """The expected bytes of an event: the newest ones' average, or the most for text."""
        return self._tail.event_size or TEXT

    async def read(self, after: Position, *, limit: int = PAGE) -> Sequence[Record]:
        """At most ``limit`` events after ``after``. Raises PositionLost."""
        tail = self.tail_after(after)
        if tail is not None:
            return tail[:limit]
        return await self._store.read(self.id, after=after if after.seq else None, limit=limit)

    async def read_from(self, seq: int) -> Sequence[Record]:
        """The events known here with a seq above ``seq``, at most a page."""
        found = await self._store.read_back(self.id, before=self.head.seq + 1)
        return [record for record in found if record.seq > seq]

    async def read_since(self, seq: int, types: Collection[str] | None = None) -> list[Record]:
        """The events from ``seq`` to the head, in order: those of these types, or all."""
        found: list[Record] = []
        before = self.head.seq + 1
        while before > seq:
            page = await self._store.read_back(self.id, before=before)
            kept = [
                one
                for one in page
                if one.seq >= seq and (types is None or event_type(one.data) in types)
            ]
            found[:0] = kept
            before = page[0].seq if len(page) == PAGE else seq
        return found

    async def check(self, position: Position) -> LostReason | None:
        """Why a client at ``position`` can't get a replay; ``None`` when it can."""
        if position == self.head:
            return None
        tag = self._tail.tag_at(position.seq)
        if tag is not None:
            if position.epoch != self.head.epoch:
                return "epoch"
            return None if tag == position.tag else "diverged"
        empty = self._tail.event_size is None
        try:
            missed = await self._store.read(self.id, after=position, limit=MISSED if empty else 1)
        except PositionLost as lost:
            return lost.reason
        if missed and missed[-1].seq == self.head.seq and self._tail.event_size is None:
            # The reader asks for them next, and so do others that return with it.
            self._tail.add_read(missed)
        return None

    # The fold

    async def snapshot(self, *, messages: int, size: int | None = None) -> Snapshot:
        """The newest ``messages``, see :meth:`page_before`, as of the end of the last run."""
        base, outline = self.run_base, self.outline
        queued = self.queued_at(base.seq)
        interrupts = list(outline.interrupts.values())
        state = outline.state if outline.run is None else outline.base_state
        page = await self.page_before(base.seq + 1, messages=messages, size=size)
        return Snapshot(base, page, state, queued, interrupts, self.info.title)

    async def page_before(self, before: int, *, messages: int, size: int | None = None) -> Page:
        """The last ``messages`` before that seq, or a few more: runs are kept whole.

        With ``size`` the page has about that many bytes at most: fewer messages, or a part of a
        large run.
        """
        view, branches = self.view, self.outline.branches
        store, id = self._store, self.id
        if size is None:
            page = await page_before(store, id, before, messages=messages, view=view)
        else:
            self._pages = self._pages or BoundedPages(store, id, self.head.epoch)
            page = await self._pages.before(
                before, messages=messages, size=size, view=view, event_size=self.event_size
            )
        return page._replace(messages=branches.marked(page.messages)) if view.hidden else page

    async def find_turn(self, message: str | None) -> Turn | None:
        """The turn of that message, or the last one; ``None`` if it is not in view."""
        return await turns.find_turn(self._store, self.id, self.head.seq, message, self.view)

    async def messages(self, *, through: int | None = None) -> list[Message]:
        """The whole conversation in view, up to that seq."""
        end = self.head.seq if through is None else through
        branches = self.outline.branches
        messages = await conversation.whole_conversation(
            self._store, self.id, self.head.epoch, through=end, view=self.view
        )
        return branches.marked(messages)

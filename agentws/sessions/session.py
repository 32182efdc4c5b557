"""A session is a log.

This is the log as one node sees it: append, follow, and the projection of what is open in it. The
events are in the store. A session in memory caches the newest ones, encoded, so that a client that
reconnects after a moment gets its replay without a read of the store. A connection is a cursor: a
follower holds a position and is rung when there may be more to read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ..errors import Conflict, IdempotencyConflict, LostReason, PositionLost
from ..protocol import events as e
from ..protocol.codec import Entry, Record, check_sizes, decode_record, entry, entry_of
from ..protocol.events import Event
from ..protocol.messages import Message
from ..protocol.outline import OUTLINE_EVENTS, OUTLINE_TYPES, Carried, Outline
from ..protocol.position import Position
from ..protocol.sizes import EVENT, TEXT
from ..store import PAGE, Appended, Key, SessionInfo, Settled, Store
from . import conversation
from .command_turn import CommandTurn
from .conversation import Snapshot
from .follower import Follower
from .large_runs import BoundedPages
from .pages import Page, page_before
from .senders import Senders, no_longer_queued
from .shared_read import SharedRead
from .tail import Tail

logger: Final = logging.getLogger("agentws")

_FOLLOWED: Final = OUTLINE_EVENTS | {e.SessionUpdated}
_CHANGEABLE: Final = (e.StateSnapshot, e.StateDelta, e.SessionUpdated)
_FOLLOWED_TYPES: Final = OUTLINE_TYPES | {"session.updated"}
_encoder: Final = msgspec.json.Encoder()
_carried: Final = msgspec.json.Decoder(Carried)


class Session:
    """One log, while it has a follower or a run on this node; see :meth:`Sessions.sweep`."""

    __slots__ = (
        "_accepted_at",
        "_outline_changed",
        "_pages",
        "_reads",
        "_run_base",
        "_store",
        "_tail",
        "on_append",
        "cleared",
        "followers",
        "head",
        "id",
        "info",
        "max_event_size",
        "outline",
        "on_outline_change",
        "senders",
        "turn",
        "used",
        "version",
    )

    def __init__(
        self,
        info: SessionInfo,
        store: Store,
        head: Position,
        *,
        tail_size: int,
        carried: Carried | None = None,
    ) -> None:
        self.id = info.id
        self.info = info
        self.head = head
        self.outline = Outline() if carried is None else Outline(carried)
        self.cleared = 0 if carried is None else carried.cleared
        """The seq of the newest ``history.cleared``: nothing up to it is shown any more."""
        self._run_base: Position | None = None
        self.followers: tuple[Follower, ...] = ()
        """Rung when the log has grown; see :meth:`follow`."""
        self.on_outline_change: Callable[[Session], None] | None = None
        """Called after the outline has changed; decides what runs next."""
        self.on_append: Callable[[Session], None] | None = None
        """Called after an append by this node, to ring the bell for other nodes."""
        self.used = 0.0
        """When it was last followed, run or written, in seconds of the loop's clock."""
        self.version = head.seq
        """The seq of the newest event known here that commands are decided on."""
        self.turn: CommandTurn | None = None
        """``None`` while no command is being decided."""
        self.senders: Senders | None = None
        """Who sent what is queued, where this node knows more of them than the log says."""
        self.max_event_size = EVENT
        """The most bytes of the frame of an event that is not text."""
        self._store = store
        self._tail = Tail(tail_size)
        self._reads = SharedRead()
        self._pages: BoundedPages | None = None
        self._outline_changed = False
        self._accepted_at: dict[str, int] | None = None

    def __repr__(self) -> str:
        return f"<Session {self.id} head={self.head.seq} followers={len(self.followers)}>"

    @property
    def immediate(self) -> bool:
        """Whether a call of the store never waits; see :attr:`Store.immediate`."""
        return self._store.immediate

    @property
    def exclusive(self) -> bool:
        """Whether no append by another node can come between a decision and its append."""
        return self._store.immediate and self._store.exclusive

    @classmethod
    async def load(cls, info: SessionInfo, store: Store, *, tail_size: int) -> Session:
        """The session as the store has it: a cold start. Reads the log from the settled mark on."""
        head = await store.head(info.id)
        settled = head.settled
        carried = _carried.decode(settled.carried) if settled.carried else None
        session = cls(info, store, head.position, tail_size=tail_size, carried=carried)
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
        """:meth:`append` for encoded events. A run (``fence``) has checked the sizes of its own."""
        if fence is None:
            check_sizes(entries, self.max_event_size)
        datas, commutes = [], True
        for one in entries:
            datas.append(one.data)
            commutes = commutes and type(one.event) not in OUTLINE_EVENTS
        done = await self._store.append(
            self.id, datas, key=key, fence=fence, expect=expect, commutes=commutes
        )
        if done.duplicate:
            # The first append may have been reported as failed: then its events are unknown here.
            if done.position.seq > self.head.seq:
                await self.catch_up()
            return done
        if not done.records:
            return done
        if done.records[0].seq == self.head.seq + 1:
            self._apply(done.records, entries)
            self._notify()
        elif done.records[-1].seq > self.head.seq:
            await self.catch_up()
        self.announce()
        return done

    async def settle(self, *, fence: str) -> None:
        """Stores a checkpoint: nothing is open up to the head, and the state to load from there."""
        carried = msgspec.structs.replace(self.outline.carried, cleared=self.cleared)
        data = b"" if carried == Carried() else _encoder.encode(carried)
        settled = Settled(self.head.seq, data)
        await self._store.append(self.id, [], fence=fence, settled=settled)

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
            self._apply(fresh, [entry_of(record.data, _FOLLOWED_TYPES) for record in fresh])
            self._notify()
        return len(records)

    def _apply(self, records: Sequence[Record], entries: Sequence[Entry]) -> None:
        """Moves the head, the tail and the outline on by ``records``, which follow the head."""
        for at, one in enumerate(entries):
            if type(one.event) in _FOLLOWED:
                self._apply_to_outline(one, records[at], records[at - 1] if at else None)
        last = records[-1]
        self.head = Position(self.head.epoch, last.seq, last.tag)
        self._tail.add(records)

    def _apply_to_outline(self, one: Entry, record: Record, before: Record | None) -> None:
        event, outline = one.event, self.outline
        assert event is not None
        if type(event) in _CHANGEABLE:
            # The agent may still change the object that it yielded; what was written counts.
            event = decode_record(one.data).event
        if self.senders is not None:
            self.senders.remove(no_longer_queued(event, outline))
            self.senders = self.senders or None
        outline.apply(event, one.run)
        self._outline_changed = True
        self.version = record.seq
        match event:
            case e.MessageAccepted():
                self._accepted_at = self._accepted_at or {}
                self._accepted_at[event.message.id] = record.seq
            case e.HistoryCleared():
                self.cleared = record.seq
            case e.SessionUpdated():
                self.info = _updated(self.info, event)
            case e.RunStarted():
                head = self.head
                self._run_base = (
                    head if before is None else Position(head.epoch, before.seq, before.tag)
                )
                if self._accepted_at is not None:
                    self._accepted_at = _queued(self._accepted_at, outline)
            case e.RunFinished() | e.RunError():
                self._run_base = None
            case _:
                pass

    @property
    def run_base(self) -> Position:
        """The position just before the active run began; the head when no run is active."""
        return self._run_base or self.head

    def _notify(self) -> None:
        """Rings all followers, and reports a changed outline."""
        for follower in self.followers:
            try:
                follower.ring()
            except Exception:
                # A follower that fails must not stop the others or the writer.
                logger.exception("a follower of session %s failed", self.id)
        if self._outline_changed:
            self._outline_changed = False
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
        """Rings ``follower`` from now on. Follow first, then read: so no event is missed."""
        self.followers = (*self.followers, follower)

    def unfollow(self, follower: Follower) -> None:
        """Ends :meth:`follow`; does nothing for a follower that is not there."""
        followers = self.followers
        if follower in followers:
            at = followers.index(follower)
            self.followers = followers[:at] + followers[at + 1 :]

    def tail_after(self, position: Position) -> Sequence[Record] | None:
        """The replay after ``position``, which :meth:`check` accepts; ``None`` if not in memory."""
        if position.seq == self.head.seq:
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

    async def check(self, position: Position) -> LostReason | None:
        """Why a client at ``position`` can't get a replay; ``None`` when it can."""
        if position == self.head:
            return None
        tag = self._tail.tag_at(position.seq)
        if tag is not None:
            if position.epoch != self.head.epoch:
                return "epoch"
            return None if tag == position.tag else "diverged"
        try:
            await self._store.read(self.id, after=position, limit=1)
        except PositionLost as lost:
            return lost.reason
        return None

    # The fold

    async def snapshot(self, *, messages: int, size: int | None = None) -> Snapshot:
        """The newest ``messages``, see :meth:`page_before`, as of the end of the last run."""
        base, outline = self.run_base, self.outline
        queue = outline.queue.values()
        accepted_at = self._accepted_at or {}
        unread = [one for one in queue if accepted_at[one.message.id] <= base.seq]
        interrupts = list(outline.interrupts.values())
        state = outline.state if outline.run is None else outline.base_state
        page = await self.page_before(base.seq + 1, messages=messages, size=size)
        return Snapshot(base, page, state, unread, interrupts, self.info.title)

    async def page_before(self, before: int, *, messages: int, size: int | None = None) -> Page:
        """The last ``messages`` before that seq, or a few more: runs are kept whole.

        With ``size`` the page has about that many bytes at most: fewer messages, or a part of a
        large run.
        """
        cleared = self.cleared
        store, id = self._store, self.id
        if size is None:
            return await page_before(store, id, before, messages=messages, cleared=cleared)
        if self._pages is None:
            self._pages = BoundedPages(store, id, self.head.epoch)
        return await self._pages.before(
            before, messages=messages, size=size, cleared=cleared, event_size=self.event_size
        )

    async def messages(self, *, through: int | None = None) -> list[Message]:
        """The whole conversation, up to that seq."""
        end = self.head.seq if through is None else through
        return await conversation.whole(self._store, self.id, self.head.epoch, through=end)


def _queued(known: dict[str, int], outline: Outline) -> dict[str, int] | None:
    """The entries of ``known`` whose messages are still queued; ``None`` if there are none."""
    if not outline.queue:
        return None
    return {id: value for id, value in known.items() if id in outline.queue} or None


def _updated(info: SessionInfo, event: e.SessionUpdated) -> SessionInfo:
    metadata = info.metadata if event.metadata is None else event.metadata
    return msgspec.structs.replace(info, title=event.title or info.title, metadata=metadata)

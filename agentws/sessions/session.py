"""A session is a log.

This is the log as one node sees it: append, follow, and what is going on in it. The events are in
the store; a session in use keeps its newest ones, encoded, so that who was away for a moment reads
no store. A connection is a cursor: whatever follows holds a position and is told to look again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from operator import attrgetter
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
from .senders import Senders, no_longer_waiting
from .shared_read import SharedRead
from .tail import Tail

logger: Final = logging.getLogger("agentws")

_FOLLOWED: Final = OUTLINE_EVENTS | {e.SessionUpdated}
_CHANGEABLE: Final = (e.StateSnapshot, e.StateDelta, e.SessionUpdated)
_FOLLOWED_TYPES: Final = OUTLINE_TYPES | {"session.updated"}
_data: Final = attrgetter("data")
_event: Final = attrgetter("event")
_encoder: Final = msgspec.json.Encoder()
_carried: Final = msgspec.json.Decoder(Carried)


class Session:
    """One log, as long as somebody here follows it or runs its agent."""

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
        """Whoever is rung when the log has grown; see :meth:`follow`."""
        self.on_outline_change: Callable[[Session], None] | None = None
        """Told when the outline has changed; decides what runs next."""
        self.on_append: Callable[[Session], None] | None = None
        """Told after an append from here, to ring the bell for other nodes."""
        self.used = 0.0
        """When it was last followed, run or written, by the loop's clock."""
        self.version = head.seq
        """The seq of the newest event known here that commands are decided on."""
        self.turn: CommandTurn | None = None
        """``None`` while no command is being decided."""
        self.senders: Senders | None = None
        """Who sent what waits, where more is known of them here than the log says."""
        self.max_event_size = EVENT
        """Bytes of the frame of an event that is not text."""
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
        """Whether asking the store never waits; see :attr:`Store.immediate`."""
        return self._store.immediate

    @property
    def exclusive(self) -> bool:
        """Whether nothing unknown here comes between deciding and appending."""
        return self._store.immediate and self._store.exclusive

    @classmethod
    async def load(cls, info: SessionInfo, store: Store, *, tail_size: int) -> Session:
        """The session as the store has it. Reads what is open, not the whole log."""
        head = await store.head(info.id)
        settled = head.settled
        carried = _carried.decode(settled.carried) if settled.carried else None
        session = cls(info, store, head.position, tail_size=tail_size, carried=carried)
        if settled.seq < head.position.seq:
            session.head = await conversation.position_at(
                store, info.id, head.position, settled.seq
            )
            await session._read_on()
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

        Raises EventTooLarge, and what :meth:`Store.append` raises. Followers are told before it
        returns.
        """
        entries = [entry(event, run=run) for event in events]
        return await self.append_entries(entries, key=key, fence=fence)

    async def find(
        self, key: Key, *, conflict: type[Conflict] = IdempotencyConflict
    ) -> Appended | None:
        """What was appended under ``key`` before; raises ``conflict`` for another body."""
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
        """:meth:`append` for events that are encoded already; a run measured its own."""
        if fence is None:
            check_sizes(entries, self.max_event_size)
        datas = list(map(_data, entries))
        commutes = OUTLINE_EVENTS.isdisjoint(map(type, map(_event, entries)))
        done = await self._store.append(
            self.id, datas, key=key, fence=fence, expect=expect, commutes=commutes
        )
        if done.duplicate:
            # The first append may have seemed to fail: then nobody here knows of it yet.
            if done.position.seq > self.head.seq:
                await self.catch_up()
            return done
        if not done.records:
            return done
        if done.records[0].seq == self.head.seq + 1:
            self._take(done.records, entries)
            self._tell()
        elif done.records[-1].seq > self.head.seq:
            await self.catch_up()
        self.announce()
        return done

    async def settle(self, *, fence: str) -> None:
        """Writes down that nothing is open up to the head, and what to go on with from there."""
        carried = msgspec.structs.replace(self.outline.carried, cleared=self.cleared)
        data = b"" if carried == Carried() else _encoder.encode(carried)
        settled = Settled(self.head.seq, data)
        await self._store.append(self.id, [], fence=fence, settled=settled)

    def announce(self) -> None:
        """Rings for other nodes: the log has grown, perhaps by what was told as failed."""
        if self.on_append is not None:
            self.on_append(self)

    async def catch_up(self) -> None:
        """Reads what the store has beyond what is known here.

        When this returns, everything that was in the store when it was called is known.
        """
        await self._reads.join(self._read_on)

    async def _read_on(self) -> None:
        try:
            while await self._read_page() == PAGE:
                pass
        except PositionLost as error:
            logger.warning("session %s is not what it was: %s", self.id, error.reason)
            self.void()
            raise

    async def _read_page(self) -> int:
        """Goes on with the next page of the log; returns how many records it had."""
        records = await self._store.read(self.id, after=self.head if self.head.seq else None)
        fresh = [record for record in records if record.seq > self.head.seq]
        if fresh:
            self._take(fresh, [entry_of(record.data, _FOLLOWED_TYPES) for record in fresh])
            self._tell()
        return len(records)

    def _take(self, records: Sequence[Record], entries: Sequence[Entry]) -> None:
        """Goes on with ``records``, which follow the head."""
        for at, one in enumerate(entries):
            if type(one.event) in _FOLLOWED:
                self._outline(one, records[at], records[at - 1] if at else None)
        last = records[-1]
        self.head = Position(self.head.epoch, last.seq, last.tag)
        self._tail.add(records)

    def _outline(self, one: Entry, record: Record, before: Record | None) -> None:
        event, outline = one.event, self.outline
        assert event is not None
        if type(event) in _CHANGEABLE:
            # The agent may go on changing what it yielded; what counts is what was written.
            event = decode_record(one.data).event
        if self.senders is not None:
            self.senders.forget(no_longer_waiting(event, outline))
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
        """The position just before the run going on began; the head when none is."""
        return self._run_base or self.head

    def _tell(self) -> None:
        for follower in self.followers:
            try:
                follower.ring()
            except Exception:
                # One reader that fails must not keep the others, or the writer, from going on.
                logger.exception("a follower of session %s failed", self.id)
        if self._outline_changed:
            self._outline_changed = False
            if self.on_outline_change is not None:
                self.on_outline_change(self)

    def forget_tail(self) -> None:
        """Lets go of the encoded events; readers go to the store instead."""
        self._tail.forget()

    def void(self) -> None:
        """The log is gone, or not what it was: tells whoever follows it."""
        for follower in self.followers:
            follower.lost()

    # Following

    def follow(self, follower: Follower) -> None:
        """Has ``follower`` rung from now on. Follow first, then read: nothing falls between."""
        self.followers = (*self.followers, follower)

    def unfollow(self, follower: Follower) -> None:
        """The end of :meth:`follow`; nothing for one that does not follow."""
        followers = self.followers
        if follower in followers:
            at = followers.index(follower)
            self.followers = followers[:at] + followers[at + 1 :]

    def tail_after(self, position: Position) -> Sequence[Record] | None:
        """The events after ``position``, if they are all in memory; ``position`` must be good."""
        if position.seq == self.head.seq:
            return ()
        return self._tail.after(position.seq)

    @property
    def event_size(self) -> int:
        """What its events may have in bytes: that of the newest, or the most that text has."""
        return self._tail.event_size or TEXT

    async def read(self, after: Position, *, limit: int = PAGE) -> Sequence[Record]:
        """At most ``limit`` events after ``after``. Raises PositionLost."""
        tail = self.tail_after(after)
        if tail is not None:
            return tail[:limit]
        return await self._store.read(self.id, after=after if after.seq else None, limit=limit)

    async def read_from(self, seq: int) -> Sequence[Record]:
        """The events that are known here with a seq above ``seq``."""
        found = await self._store.read_back(self.id, before=self.head.seq + 1)
        return [record for record in found if record.seq > seq]

    async def check(self, position: Position) -> LostReason | None:
        """Why ``position`` can't be continued from, or ``None`` when it can."""
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
        """The newest ``messages``, see :meth:`page_before`, as of where no run was active."""
        base, outline = self.run_base, self.outline
        queue = outline.queue.values()
        accepted_at = self._accepted_at or {}
        unread = [one for one in queue if accepted_at[one.message.id] <= base.seq]
        interrupts = list(outline.interrupts.values())
        state = outline.state if outline.run is None else outline.base_state
        page = await self.page_before(base.seq + 1, messages=messages, size=size)
        return Snapshot(base, page, state, unread, interrupts, self.info.title)

    async def page_before(self, before: int, *, messages: int, size: int | None = None) -> Page:
        """The ``messages`` that end before that seq (or a few more: runs are kept whole).

        With ``size``, about the most bytes of them: fewer messages, or a part of a large run.
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

    async def compact(self, first: int, last: int) -> None:
        """Folds the deltas of a finished run, whose events are ``first`` to ``last``."""
        await conversation.compact_run(self._store, self.id, first=first, last=last)


def _queued(known: dict[str, int], outline: Outline) -> dict[str, int] | None:
    """What is known of messages that still wait; mostly none do."""
    if not outline.queue:
        return None
    return {id: value for id, value in known.items() if id in outline.queue} or None


def _updated(info: SessionInfo, event: e.SessionUpdated) -> SessionInfo:
    metadata = info.metadata if event.metadata is None else event.metadata
    return msgspec.structs.replace(info, title=event.title or info.title, metadata=metadata)

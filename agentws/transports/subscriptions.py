"""The topics that one WebSocket connection follows: further cursors of the connection.

Each is a position in the log of a topic, and no queue. Their events are written when the connection
has nothing else to write, so a slow consumer gets them later, as it gets those of its session.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

from ..errors import AgentwsError, Internal, LostReason, PositionLost, TooMany, Unavailable
from ..protocol import frames as f
from ..protocol.codec import Record
from ..protocol.position import GENESIS, Position
from ..protocol.topics import check_topic, topic_of
from ..sessions.session import Session
from .connection import Connection
from .feeds import Feed
from .opening import NO_POSITION, NoReplay, resume_point
from .pieces import Pieces
from .service import SessionService

logger: Final = logging.getLogger("agentws")


class Start(NamedTuple):
    """Where a reader of a topic begins."""

    position: Position
    resume: f.Resume
    reason: NoReplay | None = None

    def frame(self, log: Session, *, reply: str | None = None) -> f.Subscribed:
        return f.Subscribed(
            reply=reply,
            topic=topic_of(log.id),
            after=str(self.position),
            head=str(log.head),
            resume=self.resume,
            reason=self.reason,
        )


async def start_of(log: Session, after: str | None) -> Start:
    """A replay from ``after`` if none of the posts since then was trimmed; else all that are kept.

    Raises Unavailable.
    """
    if after is None:
        return oldest(log, NO_POSITION)
    found = await resume_point(log, after, made=False)
    if not isinstance(found, Position):
        return oldest(log, _reason(found))
    if found.seq == 0 and await _begins_later(log, found):
        return oldest(log, "trimmed")
    return Start(found, "replay")


async def _begins_later(log: Session, genesis: Position) -> bool:
    """Whether the first post was trimmed: a position before it has no event that could be lost."""
    first = await log.read(genesis, limit=1)
    return bool(first) and first[0].seq > 1


def oldest(log: Session, reason: NoReplay) -> Start:
    """All posts that are kept, to one who drops what it had: a snapshot of the topic."""
    return Start(Position(log.head.epoch, 0, GENESIS), "snapshot", reason)


def _reason(lost: LostReason) -> LostReason:
    """A topic is trimmed, and never compacted."""
    return "trimmed" if lost == "compacted" else lost


class Cursor:
    """A connection's position in one topic."""

    __slots__ = ("_subscriptions", "feed", "position")

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self.feed: Feed | None = None
        self.position: Position | None = None
        """``None`` until it is told where it begins."""

    def __repr__(self) -> str:
        return f"<Cursor at {self.position}>"

    @property
    def is_behind(self) -> bool:
        at, feed = self.position, self.feed
        return at is not None and feed is not None and at.seq < feed.log.head.seq

    def ring(self) -> None:
        self._subscriptions.pump()

    def lost(self) -> None:
        self._subscriptions.lost()


class Subscriptions:
    """All of one connection. Made with its first subscription: other connections have none."""

    def __init__(self, service: SessionService, connection: Connection) -> None:
        self._service = service
        self._connection = connection
        self._cursors: dict[str, Cursor] = {}
        self._reading = False
        connection.share(self)

    def __repr__(self) -> str:
        return f"<Subscriptions {list(self._cursors)} of {self._connection!r}>"

    async def handle(self, frame: f.Subscribe | f.Unsubscribe) -> None:
        """Carries out the frame and answers it.

        Raises BadRequest, NotSupported, Forbidden, TooMany, Unavailable.
        """
        check_topic(frame.topic)
        self._end(frame.topic)
        if isinstance(frame, f.Subscribe):
            await self._subscribe(frame)
        else:
            answer = f.Unsubscribed(reply=frame.id, topic=frame.topic)
            self._connection.send_control(answer)

    async def _subscribe(self, frame: f.Subscribe) -> None:
        service, name = self._service, frame.topic
        await service.check_subscribe(self._connection.identity, name)
        if len(self._cursors) >= service.limits.max_subscriptions:
            expected = f"at most {service.limits.max_subscriptions}"
            raise TooMany("This connection follows too many topics.", expected=expected)
        cursor = self._cursors[name] = Cursor(self)
        try:
            # In the feed before the log is read, so that no post is missed between the two.
            feed = cursor.feed = await service.feeds.join(name, self._connection, cursor)
            start = await start_of(feed.log, frame.after)
        except BaseException:
            self._end(name)
            raise
        # The answer first: no event of the topic may come before it.
        self._connection.send_control(start.frame(feed.log, reply=frame.id))
        cursor.position = start.position
        self.pump()

    def _end(self, name: str) -> None:
        cursor = self._cursors.pop(name, None)
        if cursor is not None and cursor.feed is not None:
            self._service.feeds.leave(cursor.feed, self._connection)

    def leave(self) -> None:
        """Call it when the peer has disconnected."""
        for name in tuple(self._cursors):
            self._end(name)

    def lost(self) -> None:
        """Closes: the client learns the reason when it subscribes again."""
        self._connection.refuse(Unavailable("The log of a topic was replaced."))

    # Writing (outlet.Writer)

    def ring(self) -> None:
        self._connection.ring()
        self.pump()

    def pump(self) -> None:
        """Writes what is new in the topics while the connection has nothing else to write."""
        try:
            while not self._reading and self._connection.idle:
                cursor = self._next()
                if cursor is None:
                    return
                assert cursor.position is not None and cursor.feed is not None
                records = cursor.feed.log.tail_after(cursor.position)
                if records is None:
                    self._read_store(cursor)
                else:
                    self._write(cursor, records)
        except AgentwsError as error:
            self._connection.refuse(error)
        except Exception:
            logger.exception("%r can't be written to", self)
            self._connection.refuse(Internal())

    def _next(self) -> Cursor | None:
        return next((one for one in self._cursors.values() if one.is_behind), None)

    def _write(self, cursor: Cursor, records: Sequence[Record]) -> None:
        assert cursor.position is not None and cursor.feed is not None
        if not records:
            raise Unavailable("The store is behind the events that this node knows.")
        last = records[-1]
        cursor.position = Position(cursor.position.epoch, last.seq, last.tag)
        self._connection.write_beside(cursor.feed.frames(records))

    def _read_store(self, cursor: Cursor) -> None:
        self._reading = True
        assert cursor.feed is not None
        self._service.tasks.call_store(
            self._read(cursor, cursor.feed.log),
            name=f"reading {cursor.feed.log.id} for {self._connection.id}",
            immediate=cursor.feed.log.immediate,
        )

    async def _read(self, cursor: Cursor, log: Session) -> None:
        """Writes the posts of the store that are older than those in memory, piece by piece."""
        try:
            await self._write_pieces(cursor, log)
        except PositionLost as lost:
            self._restart(cursor, log, lost)
        except AgentwsError as error:
            self._connection.refuse(error)
        except Exception:
            logger.exception("%s could not be read for %r", log.id, self)
            self._connection.refuse(Internal())
        finally:
            self._reading = False
        self.pump()

    async def _write_pieces(self, cursor: Cursor, log: Session) -> None:
        pieces = Pieces(log)
        while self._may_write(cursor, log):
            assert cursor.position is not None
            records = await pieces.after(cursor.position)
            # It may have been unsubscribed, or something else may wait to be written by now.
            if self._may_write(cursor, log):
                self._write(cursor, records)

    def _may_write(self, cursor: Cursor, log: Session) -> bool:
        if cursor.position is None or self._cursors.get(topic_of(log.id)) is not cursor:
            return False
        read = log.tail_after(cursor.position) is None
        return read and cursor.is_behind and self._connection.idle

    def _restart(self, cursor: Cursor, log: Session, lost: PositionLost) -> None:
        """The reader was so slow that its place was trimmed: it gets all that are kept."""
        start = oldest(log, _reason(lost.reason))
        self._connection.send_control(start.frame(log))
        cursor.position = start.position

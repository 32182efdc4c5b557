"""The client's copy of a session's log: what has been applied, and the position to resume at."""

from __future__ import annotations

from collections import deque

import msgspec

from ..protocol.answered import MOST, AnsweredQuestion, answered_by, answered_in
from ..protocol.codec import decode_event
from ..protocol.events import AnyEvent, HistoryCleared, InterruptAnswered, MessagesSnapshot
from ..protocol.fold import Fold
from ..protocol.frames import EventFrame, Welcome
from ..protocol.messages import Interrupt, told_in
from ..protocol.position import Position, parse_position, read_position
from .errors import SnapshotNeeded
from .updates import LogEvent, LogReset


class Log:
    """A cursor, and the fold of the events up to it. Each event is applied once (deduplication).

    ``after`` is a position from an earlier chat. The fold then holds only what came after it. A
    position that can't be parsed is not sent to the server: a LogReset with ``lost`` tells the
    caller to drop what it has.
    """

    def __init__(self, after: str | None = None) -> None:
        self.fold = Fold()
        self.answered: deque[AnsweredQuestion] = deque(maxlen=MOST)
        self.position = None if after is None else read_position(after)
        self._unreadable = after is not None and self.position is None
        self._known_after = 0 if self.position is None else self.position.seq
        """The fold holds the events after this seq, up to ``position``."""
        self._head: Position | None = None
        self._snapshot_due = False
        self._snapshot_seq: int | None = None
        self._reason: str | None = None

    def __repr__(self) -> str:
        return f"<Log at {self.position}>"

    @property
    def after(self) -> str | None:
        """The position to resume at. ``None`` until a snapshot that was announced has arrived
        whole: half of one must not be continued."""
        return None if self.position is None or self._snapshot_due else str(self.position)

    @property
    def caught_up(self) -> bool:
        """Whether everything that the log held when the connection opened has been applied."""
        here, head = self.position, self._head
        return (
            here is not None
            and head is not None
            and not self._snapshot_due
            and here.epoch == head.epoch
            and here.seq >= head.seq
        )

    def knows(self, position: Position) -> bool:
        """Whether the fold holds the event at ``position``."""
        here = self._applied_of(position.epoch)
        return here is not None and self._known_after < position.seq <= here

    def lacks(self, position: Position) -> bool:
        """Whether the event at ``position`` came before this chat began: only a snapshot has it."""
        here = self._applied_of(position.epoch)
        return here is not None and position.seq <= self._known_after

    def _applied_of(self, epoch: str) -> int | None:
        """The last seq applied of the log of that epoch; ``None`` for another log."""
        here = self.position
        return here.seq if here and here.epoch == epoch and not self._snapshot_due else None

    def require_snapshot(self) -> None:
        """Makes the next connection begin with a snapshot."""
        self._snapshot_due = True

    def welcome(self, frame: Welcome) -> LogReset | None:
        """Applies a ``welcome``: how the log continues. Returns a reset if the log is new."""
        self._head = parse_position(frame.head)
        self._snapshot_seq = None
        self._snapshot_due = frame.resume == "snapshot"
        # The server can't say this one: a position that can't be parsed was not sent to it.
        self._reason = "lost" if self._unreadable or frame.resume == "new" else frame.reason
        return self._restart(self._head) if frame.resume == "new" else None

    def apply(self, frame: EventFrame) -> tuple[LogEvent | None, LogReset | None]:
        """Applies one event frame. Returns its event, and a reset if a snapshot begins with it.

        Returns no event for a duplicate or an unknown type. Raises SnapshotNeeded for an event of
        another log that no ``welcome`` announced; the next connection then begins with a snapshot.
        """
        position = parse_position(frame.id)
        reset: LogReset | None = None
        if self._snapshot_due:
            reset = self._restart(position)
            self._snapshot_seq = position.seq
        elif not self._is_next(position, frame):
            return None, None
        else:
            self._advance(position)
        event = _decode_known(frame)
        if event is None:
            return None, reset
        self._see_answered(event, frame.run)
        self.fold.apply(event, frame.run)
        if frame.run is None and isinstance(event, MessagesSnapshot):
            self.fold.outline.open_questions(_questions(event))
        return LogEvent(frame.id, frame.run, event), reset

    def _see_answered(self, event: AnyEvent, run: str | None) -> None:
        """Keeps what is answered, before the fold has applied ``event``."""
        match event:
            case InterruptAnswered():
                one = answered_by(event, self.fold.outline, after=self.fold.last)
                if one is not None:
                    self.answered.append(one)
            case MessagesSnapshot() if run is None:
                self.answered.extend(answered_in(event))
            case HistoryCleared():
                self.answered.clear()
            case _:
                pass

    def _is_next(self, position: Position, frame: EventFrame) -> bool:
        here = self.position
        if here is None:
            return True
        if position.epoch != here.epoch:
            self.require_snapshot()
            raise SnapshotNeeded("The server has replaced the log.")
        # All events of a snapshot have the same position.
        part = frame.run is None and self._snapshot_seq == here.seq
        return position.seq > here.seq or part

    def _advance(self, position: Position) -> None:
        if self.position is None or position.seq > self.position.seq:
            self.position = position

    def _restart(self, position: Position) -> LogReset | None:
        """Starts over at ``position``. Returns a reset if there was something to drop."""
        known = self._unreadable or self.position is not None
        reset = LogReset(self._reason) if known else None
        self.fold = Fold()
        self.answered.clear()
        self.position = position
        self._unreadable = False
        self._known_after = 0
        self._snapshot_due = False
        return reset


def _questions(snapshot: MessagesSnapshot) -> list[Interrupt]:
    """The open questions of a snapshot; none for a form of a newer version."""
    try:
        return msgspec.convert(told_in(snapshot.metadata).get("interrupts", []), list[Interrupt])
    except msgspec.ValidationError:
        return []


def _decode_known(frame: EventFrame) -> AnyEvent | None:
    """``None`` for a type of a newer version."""
    try:
        return decode_event(frame.event)
    except msgspec.ValidationError:
        return None

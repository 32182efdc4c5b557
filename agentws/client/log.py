"""The part of a session's log that has been applied here, and where to go on."""

from __future__ import annotations

import msgspec

from ..protocol.codec import decode_event
from ..protocol.events import AnyEvent
from ..protocol.fold import Fold
from ..protocol.frames import EventFrame, Welcome
from ..protocol.position import Position, parse_position, read_position
from .updates import LogEvent, LogReset


class SnapshotNeeded(Exception):
    """What is known here can't be continued, or does not suffice; the sentence says why."""


class Log:
    """A cursor and the fold of what it has passed: every event once, however often it comes.

    ``after`` resumes at a position of an earlier life; the fold then knows only what came later.
    One that can't be read is lost: it is not asked for, and whoever gave it is told to drop what
    it has.
    """

    def __init__(self, after: str | None = None) -> None:
        self.fold = Fold()
        self.position = None if after is None else read_position(after)
        self._unreadable = after is not None and self.position is None
        self._known_after = 0 if self.position is None else self.position.seq
        """The fold has taken in what the log has after this seq, up to ``position``."""
        self._head: Position | None = None
        self._snapshot_due = False
        self._snapshot_seq: int | None = None
        self._reason: str | None = None

    def __repr__(self) -> str:
        return f"<Log {self.position or 'nowhere'}>"

    @property
    def after(self) -> str | None:
        """Where to resume. Nowhere while a snapshot is owed: half of one must not pass as whole."""
        return None if self.position is None or self._snapshot_due else str(self.position)

    @property
    def caught_up(self) -> bool:
        """Everything that was there when the connection opened has been applied."""
        here, head = self.position, self._head
        return (
            here is not None
            and head is not None
            and not self._snapshot_due
            and here.epoch == head.epoch
            and here.seq >= head.seq
        )

    def knows(self, position: Position) -> bool:
        """Whether the fold has taken in what the log has at ``position``."""
        here = self._here_in(position.epoch)
        return here is not None and self._known_after < position.seq <= here

    def lacks(self, position: Position) -> bool:
        """Whether ``position`` was passed in an earlier life, so that only a snapshot tells."""
        here = self._here_in(position.epoch)
        return here is not None and position.seq <= self._known_after

    def _here_in(self, epoch: str) -> int | None:
        """How far the log of that epoch was applied; ``None`` where it is not the one at hand."""
        here = self.position
        return here.seq if here and here.epoch == epoch and not self._snapshot_due else None

    def begin_anew(self) -> None:
        """The next connection begins with a snapshot."""
        self._snapshot_due = True

    def welcome(self, frame: Welcome) -> LogReset | None:
        """Takes note of how the log goes on; says so where it begins anew at once."""
        self._head = parse_position(frame.head)
        self._snapshot_seq = None
        self._snapshot_due = frame.resume == "snapshot"
        # Nothing was asked for where the position given can't be read, so the server can't say it.
        self._reason = "lost" if self._unreadable or frame.resume == "new" else frame.reason
        return self._restart(self._head) if frame.resume == "new" else None

    def take(self, frame: EventFrame) -> tuple[LogEvent | None, LogReset | None]:
        """Applies one event frame; also says whether the log began anew with it.

        No event when it was here before or its type is not known. Raises SnapshotNeeded for another
        log's, which came unannounced; the next connection then begins with a snapshot.
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
        event = _known(frame)
        if event is None:
            return None, reset
        self.fold.apply(event, frame.run)
        return LogEvent(frame.id, frame.run, event), reset

    def _is_next(self, position: Position, frame: EventFrame) -> bool:
        here = self.position
        if here is None:
            return True
        if position.epoch != here.epoch:
            self.begin_anew()
            raise SnapshotNeeded("The log was replaced.")
        # What a snapshot consists of shares the position that it stands for.
        part = frame.run is None and self._snapshot_seq == here.seq
        return position.seq > here.seq or part

    def _advance(self, position: Position) -> None:
        if self.position is None or position.seq > self.position.seq:
            self.position = position

    def _restart(self, position: Position) -> LogReset | None:
        """Begins anew at ``position``; says so where there is something to drop."""
        known = self._unreadable or self.position is not None
        reset = LogReset(self._reason) if known else None
        self.fold = Fold()
        self.position = position
        self._unreadable = False
        self._known_after = 0
        self._snapshot_due = False
        return reset


def _known(frame: EventFrame) -> AnyEvent | None:
    try:
        return decode_event(frame.event)
    except msgspec.ValidationError:
        return None

"""The projection of a log: what its events say about the session as a whole, without I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ..protocol import events as e
from ..protocol.codec import Entry, Record, decode_record
from ..protocol.events import Event
from ..protocol.outline import OUTLINE_EVENTS, OUTLINE_TYPES, Carried, Outline
from ..protocol.position import Position
from ..store import SessionInfo, Settled
from .senders import Senders, no_longer_queued
from .view import View

DECODED_TYPES: Final = OUTLINE_TYPES | {"session.updated"}
"""Types of the events that :meth:`Projection.apply` needs decoded; all others may be bytes only."""
APPLIED_EVENTS: Final = OUTLINE_EVENTS | {e.SessionUpdated}
"""The events that change a projection: commands are decided on them."""
_CHANGEABLE: Final = (e.StateSnapshot, e.StateDelta, e.SessionUpdated)
_encoder: Final = msgspec.json.Encoder()
_carried: Final = msgspec.json.Decoder(Carried)


class Projection:
    """A session as of ``head``, the position of the newest event that was applied."""

    __slots__ = (
        "_accepted_at",
        "_agent",
        "_run_base",
        "cleared",
        "head",
        "info",
        "outline",
        "outline_changed",
        "senders",
        "version",
    )

    def __init__(self, info: SessionInfo, head: Position, settled: Settled | None) -> None:
        """``settled``: the checkpoint to begin with; ``None`` for an empty log."""
        carried = _carried.decode(settled.carried) if settled and settled.carried else None
        self._agent = None if carried is None else carried.agent
        """The session's agent, if an event of the log has changed it."""
        self.info = info if self._agent is None else _with_agent(info, self._agent)
        self.head = head
        self.outline = Outline() if carried is None else Outline(carried)
        self.outline_changed = False
        """Set by :meth:`apply`; reset by the caller that has reported it."""
        self.cleared = 0 if carried is None else carried.cleared
        """The seq of the newest ``history.cleared``: nothing at or before it is shown."""
        self.version = head.seq
        """The seq of the newest event known here that commands are decided on."""
        self.senders: Senders | None = None
        """The senders of queued messages, if this node knows more of them than the log says."""
        self._run_base: Position | None = None
        self._accepted_at: dict[str, int] | None = None
        """The seqs at which queued messages were accepted; ``None`` while there are none."""

    @property
    def view(self) -> View:
        """What of the log is the conversation."""
        return View(self.cleared, self.outline.branches.hidden)

    @property
    def run_base(self) -> Position:
        """The position just before the active run began; the head when no run is active."""
        return self._run_base or self.head

    def queued_at(self, seq: int) -> list[e.MessageAccepted]:
        """The queued messages that were accepted at or before ``seq``, in their order."""
        accepted_at = self._accepted_at or {}
        queue = self.outline.queue.values()
        return [one for one in queue if accepted_at[one.message.id] <= seq]

    def checkpoint(self) -> Settled:
        """What a cold start needs to begin at the head, where nothing may be open."""
        carried = msgspec.structs.replace(
            self.outline.carried, cleared=self.cleared, agent=self._agent
        )
        return Settled(self.head.seq, b"" if carried == Carried() else _encoder.encode(carried))

    def apply(
        self,
        records: Sequence[Record],
        entries: Sequence[Entry],
        applied: Sequence[int],
        *,
        head: Position,
    ) -> None:
        """Applies ``records``, which follow the head and end at ``head``.

        ``entries`` are their events. ``applied``: the indexes of those in ``APPLIED_EVENTS``, see
        :func:`applied_in`.
        """
        for at in applied:
            one = entries[at]
            event = one.event
            assert event is not None
            kind = type(event)
            if kind in _CHANGEABLE:
                # The agent may still change the object that it yielded; what was written counts.
                event = decode_record(one.data).event
            if self.senders is None:
                self.outline.apply(event, one.run)
            else:
                self._apply_with_senders(self.senders, event, one.run)
            if kind in _BESIDES_OUTLINE:
                _BESIDES_OUTLINE[kind](self, event, records, at)
        if applied:
            self.outline_changed = True
            self.version = records[applied[-1]].seq
        self.head = head

    def _apply_with_senders(self, senders: Senders, event: Event, run: str | None) -> None:
        senders.remove(no_longer_queued(event, self.outline))
        edited = event.message.id if isinstance(event, e.MessageEdited) else None
        before = None if edited is None else self.outline.queue.get(edited)
        self.outline.apply(event, run)
        if edited is not None and before is not None:
            senders.replace(edited, before, self.outline.queue[edited])
        self.senders = senders or None

    def _accept(self, event: e.MessageAccepted, records: Sequence[Record], at: int) -> None:
        self._accepted_at = self._accepted_at or {}
        self._accepted_at[event.message.id] = records[at].seq

    def _clear(self, event: e.HistoryCleared, records: Sequence[Record], at: int) -> None:
        self.cleared = records[at].seq

    def _update(self, event: e.SessionUpdated, records: Sequence[Record], at: int) -> None:
        self.info = _updated(self.info, event)
        self._agent = event.agent or self._agent

    def _start(self, event: e.RunStarted, records: Sequence[Record], at: int) -> None:
        self._run_base = self.head
        if at:
            before = records[at - 1]
            self._run_base = Position(self.head.epoch, before.seq, before.tag)
        if self._accepted_at is not None:
            self._accepted_at = _queued(self._accepted_at, self.outline)

    def _end(self, event: Event, records: Sequence[Record], at: int) -> None:
        self._run_base = None


_BESIDES_OUTLINE: Final[
    dict[type[Event], Callable[[Projection, Any, Sequence[Record], int], None]]
] = {
    e.MessageAccepted: Projection._accept,
    e.HistoryCleared: Projection._clear,
    e.SessionUpdated: Projection._update,
    e.RunStarted: Projection._start,
    e.RunFinished: Projection._end,
    e.RunError: Projection._end,
}
"""What an event changes besides the outline."""


def applied_in(entries: Sequence[Entry]) -> list[int]:
    """The indexes of the entries that change a projection."""
    return [at for at, one in enumerate(entries) if type(one.event) in APPLIED_EVENTS]


def _queued(known: dict[str, int], outline: Outline) -> dict[str, int] | None:
    """The entries of ``known`` whose messages are still queued; ``None`` if there are none."""
    if not outline.queue:
        return None
    return {id: value for id, value in known.items() if id in outline.queue} or None


def _updated(info: SessionInfo, event: e.SessionUpdated) -> SessionInfo:
    metadata = info.metadata if event.metadata is None else event.metadata
    retention = info.retention if event.retention is msgspec.UNSET else event.retention
    return msgspec.structs.replace(
        info,
        title=event.title or info.title,
        agent=event.agent or info.agent,
        metadata=metadata,
        retention=retention,
    )


def _with_agent(info: SessionInfo, agent: str) -> SessionInfo:
    return msgspec.structs.replace(info, agent=agent)

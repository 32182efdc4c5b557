"""The open turns: which events they get, and how a turn ends whose terminal event was missed."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

from ..errors import AgentwsError
from ..protocol import events as e
from ..protocol.events import AnyEvent
from ..protocol.frames import Notice
from .errors import MessageWithdrawn
from .log import Log
from .turn import Turn
from .updates import LogEvent


class OpenTurns:
    """The open turns by message and by run. Held weakly: the application may drop a turn."""

    def __init__(self) -> None:
        self._by_message: weakref.WeakValueDictionary[str, Turn] = weakref.WeakValueDictionary()
        self._by_run: dict[str, list[weakref.ref[Turn]]] = {}

    def __repr__(self) -> str:
        return f"<OpenTurns {len(self._by_message)} open>"

    @property
    def newest(self) -> str | None:
        """The id of the last message sent that has no answer yet."""
        ids = list(self._by_message)
        return ids[-1] if ids else None

    def open(self) -> list[Turn]:
        return list(self._by_message.values())

    def find(self, id: str) -> Turn | None:
        return self._by_message.get(id)

    def add(self, turn: Turn) -> None:
        self._by_message[turn.id] = turn

    def remove(self, turn: Turn) -> None:
        self._by_message.pop(turn.id, None)

    def end(self, error: AgentwsError) -> None:
        for turn in self.open():
            self.remove(turn)
            turn.end(error)

    def apply(self, entry: LogEvent) -> None:
        """Gives the event to the turns that it belongs to."""
        _, run, event = entry
        match event:
            case e.RunStarted():
                self._begin(event)
            case e.MessageWithdrawn():
                self._withdraw(event.message_id)
            case e.MessageSteered():
                self._steer(event, run)
            case _ if run is not None:
                self._feed(run, event)
            case _:
                pass

    def end_with_notice(self, notice: Notice) -> None:
        turn = None if notice.reply is None else self.find(notice.reply)
        if turn is not None:
            self.remove(turn)
            turn.end_with_notice(notice)

    def end_missed(self, log: Log) -> bool:
        """Ends the turns whose run ended without its terminal event being received here.

        Only a duplicate, a message that was accepted before, can have such a run: the run of a new
        message is received from its beginning. Returns whether an answer may be in a part of the
        log that is not here, so that a snapshot is needed.
        """
        outline, lacking = log.fold.outline, False
        for turn in self.open():
            accepted = turn.accepted_before
            taken = turn.id == outline.message or turn.id in outline.delivered
            waiting = taken or turn.id in outline.queue
            if waiting or accepted is None or (turn.run is not None and turn.run == outline.run):
                continue
            if log.knows(accepted):
                self.remove(turn)
                turn.end_with_snapshot(log.fold.messages)
            lacking = lacking or log.lacks(accepted)
        return lacking

    def _begin(self, event: e.RunStarted) -> None:
        asked = [message.id for message in event.input.messages] if event.input else []
        turns = [turn for id in asked if (turn := self.find(id)) is not None]
        self._by_run = {event.run_id: [weakref.ref(turn) for turn in turns]}
        for turn in turns:
            turn.begin(event.run_id, event)

    def _withdraw(self, id: str) -> None:
        """Does nothing if a run answers the message: it is being stopped, and its end will come."""
        turn = self.find(id)
        if turn is not None and turn.run not in self._by_run:
            self._end_one(id, MessageWithdrawn())

    def _steer(self, event: e.MessageSteered, run: str | None) -> None:
        """The rest of the run answers a message that it took; any other waits in the queue."""
        turn = self.find(event.message_id)
        if turn is not None and run is not None and event.outcome == "delivered":
            turn.begin(run, event)
            self._by_run.setdefault(run, []).append(weakref.ref(turn))

    def _feed(self, run: str, event: AnyEvent) -> None:
        turns = [turn for one in self._by_run.get(run, ()) if (turn := one()) is not None]
        for turn in turns:
            turn.feed(event)
        if isinstance(event, e.RunFinished | e.RunError):
            self._by_run.pop(run, None)
            if e.next_attempt(event) is None:
                self._forget(turns)

    def _forget(self, turns: Iterable[Turn]) -> None:
        for turn in turns:
            self.remove(turn)

    def _end_one(self, id: str, error: AgentwsError) -> None:
        turn = self.find(id)
        if turn is not None:
            self.remove(turn)
            turn.end(error)

"""Which turn an event belongs to, and what becomes of turns whose end was missed."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

from ..errors import AgentwsError, Conflict
from ..protocol import events as e
from ..protocol.events import AnyEvent
from ..protocol.frames import Notice
from .errors import MessageWithdrawn
from .log import Log
from .turn import Turn
from .updates import LogEvent


class Turns:
    """The turns that are open. They are held weakly: who lets go of one no longer listens."""

    def __init__(self) -> None:
        self._by_message: weakref.WeakValueDictionary[str, Turn] = weakref.WeakValueDictionary()
        self._by_run: dict[str, list[weakref.ref[Turn]]] = {}

    def __repr__(self) -> str:
        return f"<Turns {len(self._by_message)} open>"

    @property
    def newest(self) -> str | None:
        """The id of the message sent last that is not answered yet."""
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
        """Hands the event to the turns it concerns."""
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

    def noticed(self, notice: Notice) -> None:
        turn = None if notice.reply is None else self.find(notice.reply)
        if turn is not None:
            self.remove(turn)
            turn.end_with_notice(notice)

    def settle(self, log: Log) -> bool:
        """Ends the turns whose run is over in ``log`` though its end was never seen here.

        Only a message that was accepted before can have such a run. What is accepted just now will
        be seen from its beginning. Returns whether it takes a snapshot to tell of some.
        """
        outline, lacking = log.fold.outline, False
        for turn in self.open():
            accepted = turn.accepted_before
            waiting = turn.id in outline.queue or turn.id == outline.message
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
            turn.begin(event)

    def _withdraw(self, id: str) -> None:
        """Where the message is being answered, that run was asked to stop: its end will come."""
        turn = self.find(id)
        if turn is not None and turn.run not in self._by_run:
            self._end_one(id, MessageWithdrawn())

    def _steer(self, event: e.MessageSteered, run: str | None) -> None:
        """A message that was given to a running agent is answered by the rest of that run."""
        turn = self.find(event.message_id)
        if turn is None:
            return
        if event.outcome == "undelivered" or run is None:
            self._end_one(turn.id, Conflict(event.reason or "The message came too late."))
            return
        turn.run = run
        self._by_run.setdefault(run, []).append(weakref.ref(turn))

    def _feed(self, run: str, event: AnyEvent) -> None:
        turns = [turn for one in self._by_run.get(run, ()) if (turn := one()) is not None]
        for turn in turns:
            turn.feed(event)
        if isinstance(event, e.RunFinished | e.RunError):
            self._by_run.pop(run, None)
            self._forget(turns)

    def _forget(self, turns: Iterable[Turn]) -> None:
        for turn in turns:
            self.remove(turn)

    def _end_one(self, id: str, error: AgentwsError) -> None:
        turn = self.find(id)
        if turn is not None:
            self.remove(turn)
            turn.end(error)

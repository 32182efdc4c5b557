"""What is going on in a session: its queue, its run, its open questions.

The part of a log's fold that decides what happens next. It ignores what the agent says, so it
costs nothing per delta; :class:`agentws.protocol.fold.Fold` adds the conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from . import events as e
from . import messages as m
from .events import Event

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})
"""What a session without questions has, shared: most never have one."""


class Outline:
    """The state of a session between its events. Feed it the log in order."""

    __slots__ = (
        "answers",
        "cancelling",
        "interrupts",
        "message",
        "queue",
        "run",
        "unasked",
    )

    def __init__(self) -> None:
        self.queue: dict[str, e.MessageAccepted] = {}
        """Accepted messages that no run has taken up, in the order in which they will run."""
        self.run: str | None = None
        """The run going on."""
        self.message: str | None = None
        """The id of the message that it answers."""
        self.cancelling = False
        """Whether it was asked to stop."""
        self.unasked = False
        """Whether its message had been withdrawn before it began."""
        self.interrupts: Mapping[str, m.Interrupt] = _NONE
        """Questions of runs that ended waiting for answers, by id."""
        self.answers: Mapping[str, e.InterruptAnswered] = _NONE
        """Answers that no run has taken up."""

    def __repr__(self) -> str:
        return f"<Outline run={self.run} queue={len(self.queue)} cancelling={self.cancelling}>"

    @property
    def settled(self) -> bool:
        """Nothing is open: no run, no queued message, no answer that waits for a run."""
        return not (self.queue or self.run is not None or (self.answers and not self.interrupts))

    @property
    def resumable(self) -> bool:
        """Every question was answered and the run that asked can go on."""
        return bool(self.answers) and not self.interrupts

    def apply(self, event: Event, run: str | None) -> None:
        handle = _HANDLERS.get(type(event))
        if handle is not None:
            handle(self, event, run)

    def _accept(self, event: e.MessageAccepted, run: str | None) -> None:
        id = event.message.id
        if event.overlap == "interrupt":
            self.queue = {id: event, **self.queue}
        else:
            self.queue[id] = event

    def _withdraw(self, event: e.MessageWithdrawn, run: str | None) -> None:
        self.queue.pop(event.message_id, None)

    def _start(self, event: e.RunStarted, run: str | None) -> None:
        asked = [message.id for message in event.input.messages] if event.input else []
        self.run, self.cancelling = event.run_id, False
        self.message = asked[0] if asked else None
        self.unasked = self.message is not None and self.message not in self.queue
        for id in asked:
            self.queue.pop(id, None)
        if not asked:
            self.answers = _NONE

    def _cancel(self, event: e.RunCancelling, run: str | None) -> None:
        self.cancelling = self.cancelling or (run is not None and run == self.run)

    def _finish(self, event: e.RunFinished, run: str | None) -> None:
        self._end(event, run)
        if isinstance(event.outcome, m.InterruptOutcome):
            asked = {one.id: one for one in event.outcome.interrupts}
            self.interrupts = {**self.interrupts, **asked}

    def _end(self, event: Event, run: str | None) -> None:
        self.run, self.message, self.cancelling, self.unasked = None, None, False, False

    def _answer(self, event: e.InterruptAnswered, run: str | None) -> None:
        id = event.interrupt_id
        if id in self.interrupts:
            self.interrupts = {one: left for one, left in self.interrupts.items() if one != id}
            self.answers = {**self.answers, id: event}

    def _clear(self, event: e.HistoryCleared, run: str | None) -> None:
        self.interrupts, self.answers = _NONE, _NONE


_HANDLERS: Final[dict[type[Event], Callable[[Outline, Any, str | None], None]]] = {
    e.MessageAccepted: Outline._accept,
    e.MessageWithdrawn: Outline._withdraw,
    e.RunStarted: Outline._start,
    e.RunCancelling: Outline._cancel,
    e.RunFinished: Outline._finish,
    e.RunError: Outline._end,
    e.InterruptAnswered: Outline._answer,
    e.HistoryCleared: Outline._clear,
}

OUTLINE_EVENTS: Final = frozenset(_HANDLERS)
"""The events that an outline follows."""

OUTLINE_TYPES: Final = frozenset(str(event.__struct_config__.tag) for event in _HANDLERS)
"""Their names on the wire; records of any other type may be skipped undecoded."""

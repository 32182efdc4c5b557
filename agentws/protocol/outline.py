"""What is going on in a session: its queue, its run, its open questions.

The part of a log's fold that decides what happens next. It ignores what the agent says, so it
costs nothing per delta; :class:`agentws.protocol.fold.Fold` adds the conversation.
"""

from __future__ import annotations

from typing import Final

from . import events as e
from . import messages as m
from .events import Event

OUTLINE_TYPES: Final = frozenset(
    {
        "message.accepted",
        "message.withdrawn",
        "run.cancelling",
        "interrupt.answered",
        "history.cleared",
        "RUN_STARTED",
        "RUN_FINISHED",
        "RUN_ERROR",
    }
)
"""The types that an outline follows; all others may be skipped undecoded."""

OUTLINE_EVENTS: Final[frozenset[type[Event]]] = frozenset(
    {
        e.MessageAccepted,
        e.MessageWithdrawn,
        e.RunCancelling,
        e.InterruptAnswered,
        e.HistoryCleared,
        e.RunStarted,
        e.RunFinished,
        e.RunError,
    }
)
"""The same, as classes."""


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
        self.interrupts: dict[str, m.Interrupt] = {}
        """Questions of runs that ended waiting for answers, by id."""
        self.answers: dict[str, e.InterruptAnswered] = {}
        """Answers that no run has taken up."""

    def __repr__(self) -> str:
        return f"<Outline run={self.run} queue={len(self.queue)} cancelling={self.cancelling}>"

    @property
    def settled(self) -> bool:
        """Nothing is open: no run, no queued message, no answer that waits for a run."""
        return self.run is None and not self.queue and not self.resumable

    @property
    def resumable(self) -> bool:
        """Every question was answered and the run that asked can go on."""
        return bool(self.answers) and not self.interrupts

    def apply(self, event: Event, run: str | None) -> None:
        match event:
            case e.MessageAccepted():
                self._accept(event)
            case e.MessageWithdrawn():
                self.queue.pop(event.message_id, None)
            case e.RunStarted():
                self._start(event)
            case e.RunCancelling() if run == self.run:
                self.cancelling = True
            case e.RunFinished():
                self._end()
                if isinstance(event.outcome, m.InterruptOutcome):
                    self.interrupts |= {one.id: one for one in event.outcome.interrupts}
            case e.RunError():
                self._end()
            case e.InterruptAnswered():
                if self.interrupts.pop(event.interrupt_id, None) is not None:
                    self.answers[event.interrupt_id] = event
            case e.HistoryCleared():
                self.interrupts, self.answers = {}, {}
            case _:
                pass

    def _accept(self, event: e.MessageAccepted) -> None:
        id = event.message.id
        if event.overlap == "interrupt":
            self.queue = {id: event, **self.queue}
        else:
            self.queue[id] = event

    def _start(self, event: e.RunStarted) -> None:
        asked = [message.id for message in event.input.messages] if event.input else []
        self.run, self.cancelling = event.run_id, False
        self.message = asked[0] if asked else None
        self.unasked = self.message is not None and self.message not in self.queue
        for id in asked:
            self.queue.pop(id, None)
        if not asked:
            self.answers = {}

    def _end(self) -> None:
        self.run, self.message, self.cancelling, self.unasked = None, None, False, False

"""The outline of a session: a projection of its log without the conversation.

Its queue, active run, open interrupts and shared state: what commands are decided on. It skips
the agent's text, so it costs nothing per delta; :class:`agentws.protocol.fold.Fold` adds the
conversation. At a checkpoint (nothing is open) the small :class:`Carried` replaces the log before
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from ..errors import BadRequest
from . import events as e
from . import messages as m
from .branches import UNBRANCHED, Branches
from .events import Event
from .jsonpatch import apply_patch

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})
"""The empty mapping, shared by all sessions in which nothing waits: that is most of them."""
_REMEMBERED: Final = 100
"""The number of interrupts whose run is remembered, to refuse a late second answer clearly."""


class Carried(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state stored with a checkpoint: what an outline continues from when nothing is open."""

    interrupts: dict[str, m.Interrupt] = {}
    asked: dict[str, str] = {}
    answers: dict[str, e.InterruptAnswered] = {}
    state: Any = None
    cleared: int = 0
    """The seq of the newest ``history.cleared``."""
    branches: Branches = UNBRANCHED


_NOTHING: Final = Carried()


class Outline:
    """What is open in a session after an event of its log. Feed it the log in order."""

    __slots__ = (
        "answers",
        "asked",
        "base_state",
        "branches",
        "cancelling",
        "interrupts",
        "message",
        "queue",
        "run",
        "state",
    )

    def __init__(self, carried: Carried = _NOTHING) -> None:
        self.queue: Mapping[str, e.MessageAccepted] = _NONE
        """Accepted messages that no run has started on, in the order in which they will run."""
        self.run: str | None = None
        """The id of the active run."""
        self.message: str | None = None
        """The id of the message that it answers."""
        self.cancelling = False
        """Whether the run is to stop: a cancel, or a message that interrupts it."""
        self.interrupts: Mapping[str, m.Interrupt] = carried.interrupts or _NONE
        """Open interrupts, by id: questions of runs that ended to wait for answers."""
        self.asked: Mapping[str, str] = carried.asked or _NONE
        """The run that last raised an interrupt, by its id; also of answered ones."""
        self.answers: Mapping[str, e.InterruptAnswered] = carried.answers or _NONE
        """Answers that no run has resumed with yet, by the interrupt's id."""
        self.state: Any = carried.state
        """The shared state, a JSON value; ``None`` when no agent has set any."""
        self.base_state: Any = carried.state
        """The shared state as it was before the active run."""
        self.branches: Branches = carried.branches
        """What of the log is out of view, and what can come back."""

    def __repr__(self) -> str:
        return f"<Outline run={self.run} queue={len(self.queue)} cancelling={self.cancelling}>"

    @property
    def settled(self) -> bool:
        """Whether nothing is open: no run, no queued message, no answer that waits for a run."""
        return not (self.queue or self.run is not None or (self.answers and not self.interrupts))

    @property
    def resumable(self) -> bool:
        """Whether every interrupt was answered, so that the next run resumes with the answers."""
        return bool(self.answers) and not self.interrupts

    @property
    def carried(self) -> Carried:
        """The state for a checkpoint here. Nothing may be running or queued."""
        return Carried(
            dict(self.interrupts),
            dict(self.asked),
            dict(self.answers),
            self.state,
            branches=self.branches,
        )

    def apply(self, event: Event, run: str | None) -> None:
        handle = _HANDLERS.get(type(event))
        if handle is not None:
            handle(self, event, run)

    def _accept(self, event: e.MessageAccepted, run: str | None) -> None:
        id = event.message.id
        if event.overlap == "interrupt":
            # The log's order decides, not what the sender knew of runs.
            self.queue = {id: event, **self.queue}
            self.cancelling = self.run is not None
        else:
            self.queue = {**self.queue, id: event}

    def _withdraw(self, event: e.MessageWithdrawn, run: str | None) -> None:
        self._unqueue(event.message_id)

    def _unqueue(self, id: str) -> None:
        if id in self.queue:
            left = {one: event for one, event in self.queue.items() if one != id}
            self.queue = left or _NONE

    def _start(self, event: e.RunStarted, run: str | None) -> None:
        asked = [message.id for message in event.input.messages] if event.input else []
        self.run = event.run_id
        self.message = asked[0] if asked else None
        self.cancelling = False
        self.base_state = self.state
        for id in asked:
            self._unqueue(id)
        if not asked:
            self.answers = _NONE

    def _cancel(self, event: e.RunCancelling, run: str | None) -> None:
        self.cancelling = self.cancelling or (run is not None and run == self.run)

    def _finish(self, event: e.RunFinished, run: str | None) -> None:
        self._end(event, run)
        if isinstance(event.outcome, m.InterruptOutcome):
            questions = {one.id: one for one in event.outcome.interrupts}
            self.interrupts = {**self.interrupts, **questions}
            asked = {**self.asked, **dict.fromkeys(questions, event.run_id)}
            self.asked = dict(list(asked.items())[-_REMEMBERED:])

    def _end(self, event: Event, run: str | None) -> None:
        self.run, self.message, self.cancelling = None, None, False

    def _answer(self, event: e.InterruptAnswered, run: str | None) -> None:
        id = event.interrupt_id
        if id in self.interrupts:
            self.interrupts = _without(self.interrupts, id)
            self.answers = {**self.answers, id: event}

    def _clear(self, event: e.HistoryCleared, run: str | None) -> None:
        self.interrupts, self.answers = _NONE, _NONE
        self.branches = UNBRANCHED

    def _branch(self, event: e.HistoryBranched, run: str | None) -> None:
        self.branches = self.branches.after(event)
        for id in event.interrupts:
            self.interrupts = _without(self.interrupts, id)
            self.answers = _without(self.answers, id)

    def _set_state(self, event: e.StateSnapshot, run: str | None) -> None:
        self.state = event.snapshot

    def _change_state(self, event: e.StateDelta, run: str | None) -> None:
        self.state = patched(self.state, event.delta)


def _without(known: Mapping[str, Any], id: str) -> Mapping[str, Any]:
    return {one: left for one, left in known.items() if one != id} or _NONE


def patched(state: Any, delta: list[dict[str, Any]]) -> Any:
    """AG-UI: a patch that does not apply changes nothing; the first one applies to ``{}``."""
    try:
        return apply_patch({} if state is None else state, delta)
    except BadRequest:
        return state


_HANDLERS: Final[dict[type[Event], Callable[[Outline, Any, str | None], None]]] = {
    e.MessageAccepted: Outline._accept,
    e.MessageWithdrawn: Outline._withdraw,
    e.RunStarted: Outline._start,
    e.RunCancelling: Outline._cancel,
    e.RunFinished: Outline._finish,
    e.RunError: Outline._end,
    e.InterruptAnswered: Outline._answer,
    e.HistoryCleared: Outline._clear,
    e.HistoryBranched: Outline._branch,
    e.StateSnapshot: Outline._set_state,
    e.StateDelta: Outline._change_state,
}

OUTLINE_EVENTS: Final = frozenset(_HANDLERS)
"""The events that change an outline."""

OUTLINE_TYPES: Final = frozenset(str(event.__struct_config__.tag) for event in _HANDLERS)
"""Their types on the wire. Records of any other type may be skipped undecoded."""

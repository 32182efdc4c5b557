"""The outline of a session: a projection of its log without the conversation.

Its queue, active run, open interrupts and shared state: what commands are decided on. It skips
the agent's text, so it costs nothing per delta; :class:`agentws.protocol.fold.Fold` adds the
conversation. At a checkpoint (nothing is open) the small :class:`Carried` replaces the log before
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec

from ..errors import BadRequest
from . import events as e
from . import messages as m
from .branches import UNBRANCHED, Branches
from .events import Event
from .jsonpatch import apply_patch

T = TypeVar("T")

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})
"""The empty mapping, shared by all sessions in which nothing waits: that is most of them."""
_REMEMBERED: Final = 100
"""The number of interrupts whose run is remembered when no run waits for them any more, to refuse a
late second answer clearly."""


class Carried(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state stored with a checkpoint: what an outline continues from when nothing is open."""

    interrupts: dict[str, m.Interrupt] = {}
    asked: dict[str, str] = {}
    answers: dict[str, e.InterruptAnswered] = {}
    answered: dict[str, m.Interrupt] = {}
    state: Any = None
    cleared: int = 0
    """The seq of the newest ``history.cleared``."""
    askers: dict[str, str] = {}
    agent: str | None = None
    """The session's agent, if it was changed: the store may learn of it later."""
    branches: Branches = UNBRANCHED


_NOTHING: Final = Carried()


class Outline:
    """What is open in a session after an event of its log. Feed it the log in order."""

    __slots__ = (
        "accepted",
        "agent",
        "answered",
        "answers",
        "asked",
        "askers",
        "base_state",
        "branches",
        "by",
        "cancelling",
        "client_changes",
        "delivered",
        "interrupts",
        "message",
        "queue",
        "run",
        "run_changes",
        "state",
        "steering",
        "undelivered",
    )

    def __init__(self, carried: Carried = _NOTHING) -> None:
        self.queue: Mapping[str, e.MessageAccepted] = _NONE
        """Accepted messages that no run has begun with or taken, in the order in which they will
        run."""
        self.run: str | None = None
        """The id of the active run."""
        self.message: str | None = None
        """The id of the message that it answers."""
        self.accepted: e.MessageAccepted | None = None
        """That message as it was accepted; ``None`` in a run that goes on with answers."""
        self.agent: str | None = None
        """The agent of the active run, else of the newest one, if the log names it."""
        self.by: str | None = None
        """The id of the identity that asked for it; ``None`` for an anonymous one."""
        self.cancelling = False
        """Whether the run is to stop: a cancel, or a message that interrupts it."""
        self.steering: Mapping[str, e.MessageAccepted] = _NONE
        """Queued messages that the active run may take, the oldest first."""
        self.delivered: Mapping[str, e.MessageAccepted] = _NONE
        """Steering messages that the active run has taken, in that order."""
        self.undelivered: Mapping[str, str] = _NONE
        """Queued messages that were to steer a run that has ended, with the reason why they did
        not: their ``message.steered`` is still to be appended."""
        self.interrupts: Mapping[str, m.Interrupt] = carried.interrupts or _NONE
        """Open interrupts, by id: questions of runs that ended to wait for answers."""
        self.asked: Mapping[str, str] = carried.asked or _NONE
        """The run that last raised an interrupt, by its id; also of answered ones."""
        self.askers: Mapping[str, str] = carried.askers or _NONE
        """The agents that asked what is open, by their run, where the log names them."""
        self.answers: Mapping[str, e.InterruptAnswered] = carried.answers or _NONE
        """Answers that no run has resumed with yet, by the interrupt's id."""
        self.answered: Mapping[str, m.Interrupt] = carried.answered or _NONE
        """The interrupts that these answers are for, by id."""
        self.state: Any = carried.state
        """The shared state, a JSON value; ``None`` when nobody has set any."""
        self.run_changes = 0
        """How many changes of the state the active run has in the log."""
        self.client_changes = 0
        """How many changes of the state by clients were applied here."""
        self.base_state: Any = carried.state
        """The shared state as it was before the active run."""
        self.branches: Branches = carried.branches
        """What of the log is out of view, and what can come back."""

    def __repr__(self) -> str:
        return f"<Outline run={self.run} queue={len(self.queue)} cancelling={self.cancelling}>"

    def is_settled(self) -> bool:
        """Whether nothing is open: no run, no queued message, no answer that waits for a run."""
        return not (self.queue or self.run is not None or (self.answers and self.next_answers()))

    def next_answers(self) -> Mapping[str, e.InterruptAnswered]:
        """The answers that the next run resumes with, by the interrupt's id; empty if none does.

        They are all the answers to the questions of one run: of the first one that waits for no
        more of them. What other runs asked does not matter.
        """
        if not self.answers:
            return _NONE
        waiting = {self.asked.get(id) for id in self.interrupts}
        run = next((run for run in map(self.asked.get, self.answers) if run not in waiting), "")
        found = {id: one for id, one in self.answers.items() if self.asked.get(id) == run}
        return found or _NONE

    @property
    def carried(self) -> Carried:
        """The state for a checkpoint here. Nothing may be running or queued."""
        return Carried(
            dict(self.interrupts),
            dict(self.asked),
            dict(self.answers),
            dict(self.answered),
            self.state,
            askers=dict(self.askers),
            branches=self.branches,
        )

    def open_questions(self, interrupts: Iterable[m.Interrupt]) -> None:
        """Begins with the open interrupts of a snapshot, which does not say what run asked."""
        self.interrupts = {one.id: one for one in interrupts} or _NONE

    def apply(self, event: Event, run: str | None) -> None:
        handle = _HANDLERS.get(type(event))
        if handle is not None:
            handle(self, event, run)

    def _accept(self, event: e.MessageAccepted, run: str | None) -> None:
        # The log's order decides, not what the sender knew of runs.
        id = event.message.id
        if event.overlap == "interrupt":
            self.queue = {id: event, **self.queue}
            self.cancelling = self.run is not None
        elif event.overlap == "steer" and self.run is not None and not self.cancelling:
            self.queue = _behind(self.steering, {id: event}, self.queue)
            self.steering = {**self.steering, id: event}
        else:
            self.queue = {**self.queue, id: event} if self.queue else {id: event}

    def _steer(self, event: e.MessageSteered, run: str | None) -> None:
        id = event.message_id
        accepted = self.steering.get(id)
        if accepted is None:
            self.undelivered = _without(self.undelivered, {id})
            return
        self._unqueue(id)
        if event.outcome == "delivered":
            self.delivered = {**self.delivered, id: accepted}
        else:
            self.queue = {**self.queue, id: accepted}

    def _withdraw(self, event: e.MessageWithdrawn, run: str | None) -> None:
        self._unqueue(event.message_id)

    def _unqueue(self, id: str) -> None:
        if id in self.queue:
            self.queue = _without(self.queue, {id})
        if self.steering:
            self.steering = _without(self.steering, {id})
        if self.undelivered:
            self.undelivered = _without(self.undelivered, {id})

    def _edit(self, event: e.MessageEdited, run: str | None) -> None:
        id = event.message.id
        if (accepted := self.queue.get(id)) is not None:
            edited = msgspec.structs.replace(accepted, message=event.message)
            self.queue = {**self.queue, id: edited}

    def _promote(self, event: e.MessagePromoted, run: str | None) -> None:
        id = event.message_id
        if (accepted := self.queue.get(id)) is not None:
            self.queue = {id: accepted, **_without(self.queue, {id})}

    def _start(self, event: e.RunStarted, run: str | None) -> None:
        self.run = event.run_id
        self.agent = None if event.metadata is None else _agent_in(event.metadata)
        self.cancelling = False
        self.base_state = self.state
        self.run_changes = 0
        if event.input is not None and event.input.messages:
            self._begin_with(event.input.messages)
        else:
            self._resume(event.input)

    def _begin_with(self, messages: Sequence[m.Message]) -> None:
        self.message = messages[0].id
        self.accepted = accepted = self.queue.get(messages[-1].id)
        self.by = None if accepted is None else accepted.by
        for message in messages:
            self._unqueue(message.id)

    def _resume(self, given: m.RunAgentInput | None) -> None:
        last = list(self.answers.values())[-1:]
        self.message, self.accepted = None, None
        self.by = last[0].by if last else None
        resume = given.resume if given else None
        ids = {one.interrupt_id for one in resume} if isinstance(resume, list) else set()
        self.answers = _without(self.answers, ids)
        self.answered = _without(self.answered, ids)

    def _choose(self, event: e.AgentChosen, run: str | None) -> None:
        if run is not None and run == self.run:
            self.agent = event.agent

    def _cancel(self, event: e.RunCancelling, run: str | None) -> None:
        self.cancelling = self.cancelling or (run is not None and run == self.run)

    def _finish(self, event: e.RunFinished, run: str | None) -> None:
        self._end(event, run)
        if type(event.outcome) is m.InterruptOutcome:
            questions = {one.id: one for one in event.outcome.interrupts}
            self.interrupts = {**self.interrupts, **questions}
            asked = {**self.asked, **dict.fromkeys(questions, event.run_id)}
            over = [id for id in asked if id not in self.interrupts and id not in self.answers]
            self.asked = _without(asked, set(over[:-_REMEMBERED]))
            self._note_asker(event.run_id)

    def _note_asker(self, run: str) -> None:
        """Keeps the agent of a run that asked, and of the others that still wait for an answer."""
        known = self.askers if self.agent is None else {**self.askers, run: self.agent}
        waiting = {self.asked.get(id) for id in (*self.interrupts, *self.answers)}
        self.askers = {run: agent for run, agent in known.items() if run in waiting} or _NONE

    def asker(self, interrupt: str) -> str | None:
        """The agent that asked an open question; ``None`` if the log does not name it."""
        return self.askers.get(self.asked.get(interrupt, ""))

    def _end(self, event: Event, run: str | None) -> None:
        self.run, self.message, self.by, self.cancelling = None, None, None, False
        self.accepted = None
        self.delivered = _NONE
        if self.steering:
            self.undelivered = {**self.undelivered, **dict.fromkeys(self.steering, _reason(event))}
            self.steering = _NONE

    def _answer(self, event: e.InterruptAnswered, run: str | None) -> None:
        id = event.interrupt_id
        if id in self.interrupts:
            self.answered = {**self.answered, id: self.interrupts[id]}
            self.interrupts = _without(self.interrupts, {id})
            self.answers = {**self.answers, id: event}

    def _clear(self, event: e.HistoryCleared, run: str | None) -> None:
        self.interrupts, self.answers, self.answered = _NONE, _NONE, _NONE
        self.branches = UNBRANCHED

    def _branch(self, event: e.HistoryBranched, run: str | None) -> None:
        self.branches = self.branches.after(event)
        gone = set(event.interrupts)
        self.interrupts = _without(self.interrupts, gone)
        self.answers = _without(self.answers, gone)
        self.answered = _without(self.answered, gone)

    def _set_state(self, event: e.StateSnapshot, run: str | None) -> None:
        self.state = event.snapshot
        self.run_changes += 1

    def _change_state(self, event: e.StateDelta, run: str | None) -> None:
        self.state = patched(self.state, event.delta)
        self.run_changes += 1

    def _change_state_for_client(self, event: e.StateChanged, run: str | None) -> None:
        self.state = patched(self.state, event.patch)
        self.client_changes += 1


def _agent_in(metadata: m.Metadata) -> str | None:
    """The agent that the beginning of a run names: none where there is only one agent."""
    ours = metadata.get("agentws")
    agent = ours.get("agent") if isinstance(ours, dict) else None
    return agent if isinstance(agent, str) else None


def _without(known: Mapping[str, T], ids: Set[str]) -> Mapping[str, T]:
    """``known`` itself if it has none of the ids."""
    if ids.isdisjoint(known):
        return known
    if len(known) == 1:
        return _NONE
    return {id: one for id, one in known.items() if id not in ids} or _NONE


def _behind(
    earlier: Iterable[str],
    fresh: Mapping[str, e.MessageAccepted],
    queue: Mapping[str, e.MessageAccepted],
) -> Mapping[str, e.MessageAccepted]:
    """``queue`` with ``fresh`` behind the last one of ``earlier``; without any, at the front."""
    ids = list(queue)
    at = max((ids.index(id) + 1 for id in earlier), default=0)
    return {**{id: queue[id] for id in ids[:at]}, **fresh, **queue}


def _reason(end: Event) -> str:
    """Why a run that ended with ``end`` did not take a steering message."""
    match end:
        case e.RunFinished(outcome=m.CancelledOutcome()):
            return "cancelled"
        case e.RunFinished(outcome=m.InterruptOutcome()):
            return "waiting"
        case e.RunFinished():
            return "finished"
        case e.RunError(code="interrupted"):
            return "interrupted"
        case _:
            return "failed"


def patched(state: Any, delta: list[dict[str, Any]]) -> Any:
    """AG-UI: a patch that does not apply changes nothing; the first one applies to ``{}``."""
    try:
        return apply_patch({} if state is None else state, delta)
    except BadRequest:
        return state


_HANDLERS: Final[dict[type[Event], Callable[[Outline, Any, str | None], None]]] = {
    e.MessageAccepted: Outline._accept,
    e.MessageWithdrawn: Outline._withdraw,
    e.MessageSteered: Outline._steer,
    e.MessageEdited: Outline._edit,
    e.MessagePromoted: Outline._promote,
    e.RunStarted: Outline._start,
    e.AgentChosen: Outline._choose,
    e.RunCancelling: Outline._cancel,
    e.RunFinished: Outline._finish,
    e.RunError: Outline._end,
    e.InterruptAnswered: Outline._answer,
    e.HistoryCleared: Outline._clear,
    e.HistoryBranched: Outline._branch,
    e.StateSnapshot: Outline._set_state,
    e.StateDelta: Outline._change_state,
    e.StateChanged: Outline._change_state_for_client,
}

OUTLINE_EVENTS: Final = frozenset(_HANDLERS)
"""The events that change an outline."""

OUTLINE_TYPES: Final = frozenset(str(event.__struct_config__.tag) for event in _HANDLERS)
"""Their types on the wire. Records of any other type may be skipped undecoded."""

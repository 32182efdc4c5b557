"""What an agent that is called again goes on from: the calls, questions and results in the log.

A question names the first of these runs (its ``origin``, a seq). Each later one names the run
before it as its parent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Set
from typing import Any, Final, NamedTuple

import msgspec

from ..agents.handover import Handover
from ..agents.steps import NOT_SUSPENDED, Asked, Call, Recorded, Suspended, canonical
from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.codec import Envelope, Record, decode_record
from ..protocol.fold import Fold
from ..protocol.messages import told_in
from ..protocol.outline import Outline
from ..sessions.session import Session

_CALLS: Final = frozenset({"TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_RESULT"})
TYPES: Final = frozenset(
    str(event.__struct_config__.tag)
    for event in (
        e.RunStarted,
        e.RunFinished,
        e.ToolCallStart,
        e.ToolCallResult,
        e.SubagentFinished,
        e.SubagentError,
        e.InterruptAnswered,
        e.AgentChosen,
        e.SessionUpdated,
    )
)


class Origin(NamedTuple):
    """The first run of an agent that asked."""

    seq: int
    """The seq of its RUN_STARTED."""
    by: str | None
    """Who sent the message that it answers."""

    def told(self) -> dict[str, Any]:
        """The origin as the metadata of a question carries it."""
        return {"origin": self.seq} if self.by is None else {"origin": self.seq, "by": self.by}


class Replay(NamedTuple):
    """What an agent is called again with."""

    origin: Origin
    runs: frozenset[str]
    """The runs that it goes on from, of the attempt that is in view."""
    first: str
    """The first run of the first attempt."""
    attempt: int
    """Which attempt at the answer it goes on with."""
    message: m.UserMessage
    recorded: Recorded
    handed_over: Handover | None = None
    """How the agent got the conversation, if it was not the run's first one."""


def next_origin(outline: Outline) -> Origin | None:
    """The first run of the agent that the next run resumes; ``None`` if it resumes none.

    Then it is a new run for a message, or for the answers to questions that an agent yielded.
    """
    for id in outline.next_answers():
        asked = outline.answered.get(id)
        told = told_in(asked.metadata if asked else None)
        if type(told.get("origin")) is int:
            return Origin(told["origin"], told.get("by"))
    return None


async def read_replay(session: Session, origin: Origin) -> Replay | None:
    """Reads the log from ``origin`` on; ``None`` if that run is not in it."""
    records = await session.read_since(origin.seq, TYPES)
    found = [decode_record(record.data) for record in records]
    first = found[0].event if found else None
    if not isinstance(first, e.RunStarted) or first.input is None or not first.input.messages:
        return None
    message = first.input.messages[0]
    assert isinstance(message, m.UserMessage)
    resuming = session.outline.next_answers().keys()
    runs = chain(first.run_id, found)
    attempts = [one.number for body in found if (one := attempt_of(body.event)) is not None]
    shown = runs
    if attempts:
        shown = in_view(session, runs, zip(records, found, strict=True))
    recorded = recorded_in(runs, found, resuming, shown=shown)
    if attempts:
        recorded = recorded._replace(
            repeatable=await read_repeatable(session, origin.seq, runs, shown=shown)
        )
    handed_over = _handed_over(first, shown, found)
    number = max(attempts, default=1)
    return Replay(origin, shown, first.run_id, number, message, recorded, handed_over)


def in_view(
    session: Session, runs: frozenset[str], found: Iterable[tuple[Record, Envelope]]
) -> frozenset[str]:
    """Those of ``runs`` that are in view: not those of earlier attempts."""
    view = session.view
    return frozenset(
        str(body.run)
        for record, body in found
        if body.run in runs and isinstance(body.event, e.RunStarted) and view.shows(record.seq)
    )


async def read_repeatable(
    session: Session, start: int, runs: Collection[str], *, shown: Collection[str] = ()
) -> dict[Call, list[e.ToolCallResult]]:
    """The results of the calls in earlier attempts, from ``start`` on, that were not repeated yet.

    ``shown`` are the runs of the attempt in view. Without calls that were stopped: they have no
    result, and are made again.
    """
    names: dict[str, str] = {}
    arguments: dict[str, list[str]] = {}
    results: dict[Call, list[e.ToolCallResult]] = {}
    for record in await session.read_since(start, _CALLS):
        body = decode_record(record.data)
        if body.run not in runs:
            continue
        match body.event:
            case e.ToolCallStart(tool_call_id=id, tool_call_name=name):
                names[id] = name
            case e.ToolCallArgs(tool_call_id=id, delta=delta):
                arguments.setdefault(id, []).append(delta)
            case e.ToolCallResult(tool_call_id=id) as result if id in names:
                call = names[id], canonical("".join(arguments.get(id, ())))
                told = told_in(result.metadata)
                if body.run in shown and told.get("repeated"):
                    del results.get(call, [])[:1]
                elif body.run not in shown and _can_be_repeated(told):
                    results.setdefault(call, []).append(result)
            case _:
                pass
    return results


def _can_be_repeated(told: dict[str, Any]) -> bool:
    return "step" in told and not told.get("repeated") and told.get("status") != "stopped"


def _handed_over(
    first: e.RunStarted, runs: Collection[str], found: list[Envelope]
) -> Handover | None:
    """The newest handoff in these runs: the agent that has asked goes on as that one left it."""
    agent = told_in(first.metadata).get("agent")
    chosen = handed = None
    for body in found:
        match body.event:
            case e.AgentChosen(agent=to, reason=reason) if body.run in runs:
                chosen, agent = Handover(str(agent), to, reason, True), to
            case e.SessionUpdated(agent=str(to)) if body.run in runs and to == agent:
                handed = chosen
            case _:
                pass
    return handed


async def earlier_messages(
    session: Session, replay: Replay, parts: Set[str] | None
) -> list[m.Message]:
    """What the agent of these runs wrote; given ``parts``, what the delegate with these ids did.

    With what steered the agent; without the message that the runs answer.
    """
    fold = Fold()
    for record in await session.read_since(replay.origin.seq):
        body = decode_record(record.data)
        # A message that steers is accepted outside of the run that takes it.
        if body.run in replay.runs or isinstance(body.event, e.MessageAccepted):
            fold.apply(body.event, body.run)
    if parts is not None:
        return [one for one in fold.messages if one.subagent_run_id in parts]
    own = [one for one in fold.messages if one.subagent_run_id is None]
    return [one for one in own if one.id != replay.message.id]


def chain(first: str, found: Iterable[Envelope]) -> frozenset[str]:
    """The runs that go on from the run ``first``, and those of later attempts at its answer."""
    runs = {first}
    for body in found:
        if not isinstance(body.event, e.RunStarted):
            continue
        attempt = attempt_of(body.event)
        if body.event.parent_run_id in runs or (attempt is not None and attempt.first == first):
            runs.add(body.event.run_id)
    return frozenset(runs)


def attempt_of(event: e.Event) -> e.Attempt | None:
    """The attempt that a RUN_STARTED names; ``None`` for the first one, and any other event."""
    if not isinstance(event, e.RunStarted) or event.metadata is None:
        return None
    told = told_in(event.metadata).get("attempt")
    try:
        return None if told is None else msgspec.convert(told, e.Attempt)
    except msgspec.ValidationError:
        return None


def _named(began: e.RunStarted) -> list[str]:
    """The agent that a run begins with, where there are several."""
    agent = told_in(began.metadata).get("agent")
    return [] if agent is None else [agent]


def recorded_in(
    runs: Collection[str],
    found: Iterable[Envelope],
    resuming: Collection[str],
    *,
    shown: Collection[str],
) -> Recorded:
    """What these runs recorded: of their calls those in ``shown``, and the answers of all."""
    calls: dict[str, str] = {}
    results: dict[str, e.ToolCallResult] = {}
    asked: dict[str, m.Interrupt] = {}
    questions: dict[str, Asked] = {}
    delegates: dict[str, e.SubagentFinished | e.SubagentError] = {}
    suspended: dict[str, Suspended] = {}
    turns: Counter[str] = Counter()
    for body in found:
        match body.event:
            case e.ToolCallStart() as start if body.run in shown:
                if step := told_in(start.metadata).get("step"):
                    calls[step] = start.tool_call_id
            case e.ToolCallResult() as result if body.run in shown:
                if step := told_in(result.metadata).get("step"):
                    results[step] = result
            case e.SubagentFinished(id, outcome=m.SubagentSuspended()) as end if body.run in shown:
                told = told_in(end.metadata)
                if step := told.get("step"):
                    ids = suspended.get(step, NOT_SUSPENDED).ids | {id}
                    suspended[step] = Suspended(ids, told.get("agent"))
            case e.SubagentFinished() | e.SubagentError() as end if body.run in shown:
                if step := told_in(end.metadata).get("step"):
                    delegates[step] = end
            case e.RunStarted() as began if body.run in shown and not turns:
                turns.update(_named(began))
            case e.AgentChosen(agent=to) if body.run in shown:
                turns[to] += 1
            case e.RunFinished(outcome=m.InterruptOutcome(interrupts)) if body.run in runs:
                asked |= {one.id: one for one in interrupts}
            case e.InterruptAnswered(interrupt_id=id) as answer if id in asked:
                interrupt = asked.pop(id)
                if step := told_in(interrupt.metadata).get("step"):
                    questions[step] = Asked(interrupt, answer)
            case _:
                pass
    due = frozenset(step for step, one in questions.items() if one.interrupt.id in resuming)
    return Recorded(calls, results, questions, due, delegates, suspended=suspended, turns=turns)

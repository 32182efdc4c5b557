"""A run that its node can't finish: it died before it appended the terminal event, or it drains.

An orphaned run is ended by the next node that gets the session's lease, an interrupted one by the
node that drains. Where its agent allows it, another attempt at the answer follows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from ..agents.calls import stopped_result
from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.codec import decode_record, entry, event_type
from ..protocol.events import Event
from ..protocol.messages import told_in
from ..protocol.position import Position
from ..protocol.sequence import RULED_TYPES, RunSequence
from ..sessions.session import Session
from .attempts import Attempts, Following, entries_after
from .deciding import Decision, decide
from .failure import STOP_ERRORS, run_error
from .leased import LeasedSession

logger: Final = logging.getLogger("agentws.run")

_TYPES: Final = RULED_TYPES | {"TOOL_CALL_RESULT"}


async def end_orphan(session: Session, run: str, *, fence: str, attempts: Attempts) -> None:
    """Ends an orphaned run: closes what it left open in the log, and appends its terminal event.

    A run that was to stop ends as cancelled, whoever asked for it and when. Any other is
    interrupted; the attempt that follows it, if one does, is in the same append.
    Raises what the store raises. Safe to call again: it then goes on from the newest log.
    """
    left_open = await _left_open(session, run)
    following = await attempts.after(session, run)

    def command() -> Decision | None:
        if session.outline.run != run:
            return None
        interrupted = run_error("interrupted", STOP_ERRORS["interrupted"], retryable=True)
        return _decision(session, run, interrupted, left_open, following)

    await decide(session, command, fence=fence)
    what = "ended" if following is None else f"ended, before attempt {following.number}"
    logger.warning("orphaned run %s was %s: its node is gone", run, what)


async def end_interrupted(
    leased: LeasedSession, run: str, interrupted: e.RunError, *, attempts: Attempts
) -> bool:
    """Ends a run that a drain has stopped, if another attempt follows; returns whether one does.

    Everything else of the run must be in the store. Raises what the store raises.
    """
    session, lease = leased.session, leased.lease
    following = None if lease is None else await attempts.after(session, run)
    if lease is None or following is None:
        return False

    def command() -> Decision | None:
        if session.outline.run != run:
            return None
        return _decision(session, run, interrupted, (), following)

    await decide(session, command, fence=lease.fence)
    logger.warning("run %s was interrupted, before attempt %d", run, following.number)
    return True


def _decision(
    session: Session,
    run: str,
    interrupted: e.RunError,
    left_open: Sequence[Event],
    following: Following | None,
) -> Decision:
    """What ends the run on the log as it is now."""
    outline = session.outline
    # A notice may come first on another node: then the last events of the run stay in view, and
    # say nothing without its beginning.
    end = session.head.seq + len(left_open) + 1
    more = entries_after(following, outline, end=end)
    if outline.cancelling:
        terminal: Event = e.RunFinished(session.id, run, None, m.CancelledOutcome())
    else:
        terminal = interrupted
        if following is not None and more:
            told = {**told_in(interrupted.metadata), "nextAttempt": following.number}
            terminal = msgspec.structs.replace(interrupted, metadata={"agentws": told})
    first, *others = (entry(event, run=run) for event in (*left_open, terminal))
    return Decision(first, more=[*others, *more])


async def _left_open(session: Session, run: str) -> list[Event]:
    """The events that close what the run left open in the log."""
    sequence = RunSequence(run)
    unfinished: dict[str, Event] = {}
    position = session.run_base
    while records := await session.read(position):
        for record in records:
            # A newer node may write events that are unknown here: they open nothing known here.
            if event_type(record.data) not in _TYPES:
                continue
            body = decode_record(record.data)
            if body.run == run:
                sequence.admit(body.event)
                _note_call(unfinished, body.event)
        position = Position(position.epoch, records[-1].seq, records[-1].tag)
    return [*sequence.close(), *unfinished.values()]


def _note_call(unfinished: dict[str, Event], event: Event) -> None:
    """Keeps the result of a call that the agent made by its context, while it has none."""
    match event:
        case e.ToolCallStart(tool_call_id=id) if step := told_in(event.metadata).get("step"):
            unfinished[id] = stopped_result(id, step, message=f"result_{id}")
        case e.ToolCallResult(tool_call_id=id):
            unfinished.pop(id, None)
        case _:
            pass

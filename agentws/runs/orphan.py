"""An orphaned run: its node died before it appended the terminal event.

The next node that gets the session's lease ends it, as interrupted and retryable.
"""

from __future__ import annotations

from typing import Final

from ..agents.calls import stopped_result
from ..protocol import events as e
from ..protocol.codec import decode_record, event_type
from ..protocol.events import Event
from ..protocol.messages import told_in
from ..protocol.position import Position
from ..protocol.sequence import RULED_TYPES, RunSequence
from ..sessions.session import Session
from .failure import run_error
from .run import STOP_ERRORS

_TYPES: Final = RULED_TYPES | {"TOOL_CALL_RESULT"}


async def end_orphan(session: Session, run: str, *, fence: str) -> None:
    """Ends an orphaned run: closes what it left open in the log, and appends its RUN_ERROR.

    Raises what the store raises. Safe to call again: it then goes on from the newest log.
    """
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
    terminal = run_error("interrupted", STOP_ERRORS["interrupted"], retryable=True)
    events = [*sequence.close(), *unfinished.values(), terminal]
    await session.append(events, run=run, fence=fence)


def _note_call(unfinished: dict[str, Event], event: Event) -> None:
    """Keeps the result of a call that the agent made by its context, while it has none."""
    match event:
        case e.ToolCallStart(tool_call_id=id) if step := told_in(event.metadata).get("step"):
            unfinished[id] = stopped_result(id, step, message=f"result_{id}")
        case e.ToolCallResult(tool_call_id=id):
            unfinished.pop(id, None)
        case _:
            pass

"""An orphaned run: its node died before it appended the terminal event.

The next node that gets the session's lease ends it, as interrupted and retryable.
"""

from __future__ import annotations

from ..protocol.codec import decode_record, event_type
from ..protocol.position import Position
from ..protocol.sequence import RULED_TYPES, RunSequence
from ..sessions.session import Session
from .run import STOP_ERRORS, run_error


async def end_orphan(session: Session, run: str, *, fence: str) -> None:
    """Ends an orphaned run: closes what it left open in the log, and appends its RUN_ERROR.

    Raises what the store raises. Safe to call again: it then goes on from the newest log.
    """
    sequence = RunSequence(run)
    position = session.run_base
    while records := await session.read(position):
        for record in records:
            # A newer node may write events that are unknown here: they open nothing known here.
            if event_type(record.data) not in RULED_TYPES:
                continue
            body = decode_record(record.data)
            if body.run == run:
                sequence.admit(body.event)
        position = Position(position.epoch, records[-1].seq, records[-1].tag)
    terminal = run_error("interrupted", STOP_ERRORS["interrupted"], retryable=True)
    await session.append([*sequence.close(), terminal], run=run, fence=fence)

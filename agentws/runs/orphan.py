"""Ending a run whose node died."""

from __future__ import annotations

from ..protocol.codec import decode_record, event_type
from ..protocol.position import Position
from ..protocol.sequence import RULED_TYPES, RunSequence
from ..sessions.session import Session
from .run import STOP_ERRORS, run_error


async def end_orphan(session: Session, run: str, *, fence: str) -> None:
    """Closes what the run left open in the log, and says that it was interrupted.

    Raises what the store raises; called again, it goes on from what is in the log by then.
    """
    sequence = RunSequence(run)
    position = session.run_base
    while records := await session.read(position):
        for record in records:
            # What a newer node wrote and nobody here knows is nothing that could be closed here.
            if event_type(record.data) not in RULED_TYPES:
                continue
            body = decode_record(record.data)
            if body.run == run:
                sequence.admit(body.event)
        position = Position(position.epoch, records[-1].seq, records[-1].tag)
    terminal = run_error("interrupted", STOP_ERRORS["interrupted"], retryable=True)
    await session.append([*sequence.close(), terminal], run=run, fence=fence)

"""What a cancel or a withdrawal appends, as decided on the log."""

from __future__ import annotations

import msgspec

from ..protocol import events as e
from ..protocol import frames as f
from ..protocol.codec import entry
from ..protocol.outline import Outline
from .attempts import lost_before, queued_after
from .branches import branch_before
from .deciding import Decision
from .ids import now_ms


def with_target(outline: Outline, frame: f.Cancel) -> f.Cancel:
    """A cancel of "whatever is active" with the id of what that is now.

    Decided again on a newer log, it must not cancel a run that began later.
    """
    if frame.run is not None or frame.message is not None:
        return frame
    if outline.run is not None:
        return msgspec.structs.replace(frame, run=outline.run)
    return msgspec.structs.replace(frame, message=next(iter(outline.queue), None))


def cancel_decision(outline: Outline, frame: f.Cancel, by: str | None) -> Decision | None:
    """What a cancel appends; ``None`` when there is nothing to cancel."""
    queued = queued_after(outline, frame.run) if frame.run is not None else frame.message
    if queued is not None and queued in outline.queue:
        return withdraw_decision(outline, queued, "cancelled")
    target = frame.run or frame.message
    asked = (outline.run, outline.message, *outline.delivered, lost_before(outline.accepted))
    hit = target is not None and target in asked
    if outline.run is None or outline.cancelling or not hit:
        return None
    return Decision(entry(e.RunCancelling(by, timestamp=now_ms()), run=outline.run))


def withdraw_decision(outline: Outline, message: str, reason: str) -> Decision:
    back = branch_before(outline, message)
    withdrawn = entry(e.MessageWithdrawn(message, reason, timestamp=now_ms()))
    return Decision(withdrawn, more=() if back is None else (entry(back),))

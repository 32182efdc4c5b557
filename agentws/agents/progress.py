"""The progress of a call: an event that is shown and does not stay in the conversation."""

from __future__ import annotations

import math
from typing import Any, Final

from ..protocol import events as e
from .caller import Caller

PROGRESS: Final = "agentws.progress"
"""The name of the CUSTOM event."""


def write(ctx: Caller, message: str | None, *, done: float | None, total: float | None) -> None:
    """Writes the progress of the call that ``ctx`` was given to, or of the run.

    Raises ValueError without anything to show, and for a number that is not finite.
    """
    told = {"message": message, "done": done, "total": total}
    value: dict[str, Any] = {name: one for name, one in told.items() if one is not None}
    if not value:
        raise ValueError("progress shows nothing; expected a message, or done")
    if not all(math.isfinite(one) for one in value.values() if not isinstance(one, str)):
        raise ValueError("progress is not a number; expected finite numbers for done and total")
    if ctx.work:
        value["toolCallId"] = ctx.work[-1].id
    ctx.output.write(e.Custom(PROGRESS, value))

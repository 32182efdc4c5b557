"""The event that takes the end of a conversation out of view, and says what comes instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from ..errors import Conflict
from ..protocol import events as e
from ..protocol.branches import Fork, forgotten_at
from ..protocol.outline import Outline
from ..sessions.turns import Turn
from .ids import new_id, now_ms

MOST_RANGES: Final = 5_000
"""The most separate ranges of a log that may be out of view: every checkpoint holds them."""

_BEGINNING: Final = 2
"""The events with which a branch begins: ``history.branched`` and ``message.accepted``."""


def new_branch(outline: Outline, turn: Turn, message: str, *, end: int) -> e.HistoryBranched:
    """Begins a branch instead of ``turn``, with that message: another one, or its own again.

    ``end`` is the seq of the log's end. Raises Conflict if too much is out of view already.
    """
    fork = outline.branches.fork_at(turn.message.id)
    left = new_id("br") if fork is None else fork.current
    begun = new_id("br")
    event = e.HistoryBranched(
        turn.message.id,
        message,
        left,
        begun,
        [*([left] if fork is None else fork.ids), begun],
        (_first(fork, turn), end),
        _still_open(outline, turn.asked),
        turn.restated,
        timestamp=now_ms(),
    )
    return _without_forgotten(outline, event)


def other_branch(
    outline: Outline, fork: Fork, turn: Turn, branch: str, *, end: int
) -> e.HistoryBranched:
    """Goes back to ``branch`` of ``fork``, which has ``turn`` in view. Raises Conflict."""
    begins = next(one for one in fork.branches if one.id == branch)
    event = e.HistoryBranched(
        turn.message.id,
        begins.message,
        fork.current,
        branch,
        fork.ids,
        (_first(fork, turn), end),
        _still_open(outline, turn.asked),
        True,
        timestamp=now_ms(),
    )
    return _without_forgotten(outline, event)


def branch_before(outline: Outline, message: str) -> e.HistoryBranched | None:
    """Goes back to the branch before the one that begins with a message that will never run.

    ``None`` if no branch begins with it, and while a run is active: what is in view does not change
    during a run.
    """
    fork = outline.branches.fork_at(message)
    if fork is None or outline.run is not None or fork.in_view.message != message:
        return None
    begun, back = fork.in_view, fork.previous
    if back is None:
        return None
    ids = [id for id in fork.ids if id != begun.id]
    return e.HistoryBranched(
        message,
        back.message,
        begun.id,
        back.id,
        ids,
        (begun.start, begun.start),
        reload=True,
        timestamp=now_ms(),
    )


def _first(fork: Fork | None, turn: Turn) -> int:
    """The seq from which on ``turn`` goes out of view.

    A branch begins with two events before its run. They go with it, so that the ranges of several
    branches at one place are one range; but not with anything between them and the run.
    """
    begun = turn.start if fork is None else fork.in_view.start
    return begun if turn.start - begun == _BEGINNING else turn.start


def _still_open(outline: Outline, asked: Iterable[str]) -> list[str]:
    return sorted(id for id in asked if id in outline.interrupts or id in outline.answers)


def _without_forgotten(outline: Outline, event: e.HistoryBranched) -> e.HistoryBranched:
    """``event`` with the branches that are left after it, of which the oldest may be forgotten."""
    after = outline.branches.after(event)
    if len(after.hidden) > MOST_RANGES:
        raise Conflict("This conversation has too many branches.")
    fork = after.fork_with(event.branch)
    ids = [event.branch] if fork is None else fork.ids
    # A client can't know which branches at other places are forgotten: it loads their marks again.
    reload = event.reload or bool(forgotten_at(outline.branches, after, event))
    if ids == event.branches and reload == event.reload:
        return event
    return msgspec.structs.replace(event, branches=ids, reload=reload)

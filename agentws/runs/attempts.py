"""Another attempt at an answer whose node was lost or drains, where the agent allows it.

The text so far goes out of view, as when a user asks for another answer: the message is accepted
again, at the front of the queue, on a branch of its own. What the lost run has called and asked is
returned again to the agent, not done again, if it was recorded.
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

import msgspec

from ..agents.agent import Agent
from ..agents.factory import Agents
from ..agents.steps import Recorded
from ..errors import AgentwsError, Conflict
from ..limits import Limits
from ..protocol import events as e
from ..protocol import messages as m
from ..protocol.branches import mark, with_mark
from ..protocol.codec import Entry, Envelope, decode_record, entry
from ..protocol.messages import told_in
from ..protocol.outline import Outline
from ..sessions.session import Session
from ..sessions.turns import Turn
from .branches import new_branch
from .consulting import consult
from .ids import now_ms
from .replay import TYPES, attempt_of, chain, read_repeatable, recorded_in

logger: Final = logging.getLogger("agentws.run")

ASKED: Final = 2.0
"""Seconds that an agent may take to be made and asked for its attempts: the lost run waits."""


class Following(NamedTuple):
    """The attempt that may follow a lost run, as read from the log."""

    turn: Turn
    """What goes out of view."""
    accepted: e.MessageAccepted
    """The message, to be accepted again."""

    @property
    def number(self) -> int:
        assert self.accepted.attempt is not None
        return self.accepted.attempt.number

    def entries(self, outline: Outline, *, end: int) -> list[Entry]:
        """What follows the end of the lost run, at the seq ``end``, in the same append.

        Raises Conflict if the conversation has too many branches.
        """
        message = self.turn.message
        branched = new_branch(outline, self.turn, message.id, end=end)
        marked = with_mark(message, mark(branched.branch, branched.branches))
        accepted = msgspec.structs.replace(self.accepted, message=marked, timestamp=now_ms())
        events: list[e.Event] = [branched, accepted]
        if outline.queue:
            events.append(e.MessagePromoted(message.id, timestamp=now_ms()))
        return [entry(event) for event in events]


class Attempts:
    """Decides which lost runs are attempted again."""

    def __init__(self, agents: Agents, limits: Limits) -> None:
        self._agents = agents
        self._limits = limits

    async def after(self, session: Session, run: str) -> Following | None:
        """The attempt that follows ``run``, whose node was lost; ``None`` if there is none.

        None after a run that was to stop, or that took messages which steered it: those were
        answered by it.
        """
        accepted = session.outline.accepted
        if not _may_follow(session.outline):
            return None
        if accepted is not None and await self._allowed(session, accepted) == 1:
            # That is usual: then the log is not read.
            return None
        following = await _following(session, run)
        if following is None or not self._in_time(following.accepted):
            return None
        allowed = await self._allowed(session, following.accepted)
        return following if following.number <= allowed else None

    def _in_time(self, accepted: e.MessageAccepted) -> bool:
        attempt = accepted.attempt
        assert attempt is not None
        return now_ms() - attempt.began <= self._limits.attempt_window * 1000

    async def _allowed(self, session: Session, accepted: e.MessageAccepted) -> int:
        """How many attempts the message's agent allows; one if it can't be asked."""
        making = self._agents.make_to_ask(accepted.agent or session.info.agent, session.info)
        try:
            return await consult(making, _attempts, about="its attempts", within=ASKED)
        except AgentwsError as error:
            logger.warning("session %s: %s", session.id, error)
            return 1


def entries_after(following: Following | None, outline: Outline, *, end: int) -> list[Entry]:
    """What follows the end of a lost run; nothing if no attempt does, on the log as it is now."""
    if following is None or not _may_follow(outline):
        return []
    try:
        return following.entries(outline, end=end)
    except Conflict as error:
        logger.warning("no other attempt: %s", error)
        return []


def _may_follow(outline: Outline) -> bool:
    return not (outline.cancelling or outline.delivered)


def _attempts(agent: Agent) -> int:
    if type(agent.attempts) is not int or agent.attempts < 1:
        raise TypeError(
            f"{type(agent).__name__}.attempts is {agent.attempts!r}; expected 1 or more"
        )
    return agent.attempts


async def _following(session: Session, run: str) -> Following | None:
    """Reads what ``run`` answers. ``None`` if other turns have come in between."""
    turn = await session.find_turn(session.outline.message)
    if turn is None:
        return None
    records = await session.read_since(turn.start, TYPES)
    found = [decode_record(record.data) for record in records]
    first = found[0].event if found else None
    if not isinstance(first, e.RunStarted):
        return None
    runs = chain(first.run_id, found)
    if any(isinstance(one.event, e.RunStarted) and one.run not in runs for one in found):
        return None
    accepted = session.outline.accepted or _rebuilt(turn.message, first, found)
    if run not in runs or accepted is None:
        return None
    attempt = _next(attempt_of(first), first, turn.start, run)
    return Following(turn, msgspec.structs.replace(accepted, overlap="queue", attempt=attempt))


def _next(before: e.Attempt | None, first: e.RunStarted, start: int, run: str) -> e.Attempt:
    if before is not None:
        return msgspec.structs.replace(before, number=before.number + 1, after=run)
    return e.Attempt(2, first.run_id, run, start, first.timestamp or 0)


def _rebuilt(
    message: m.UserMessage, first: e.RunStarted, found: list[Envelope]
) -> e.MessageAccepted | None:
    """The message of a run that goes on with answers, as it was accepted.

    ``None`` if the agent can't be called again: it did not ask by its context.
    """
    for body in found:
        if isinstance(body.event, e.RunFinished) and isinstance(
            body.event.outcome, m.InterruptOutcome
        ):
            told = told_in(body.event.outcome.interrupts[0].metadata)
            if "origin" in told:
                agent = told_in(first.metadata).get("agent")
                return e.MessageAccepted(message, "queue", agent, told.get("by"))
    return None


# The beginning of an attempt


def next_attempt(outline: Outline) -> e.Attempt | None:
    """The attempt that the next run is; ``None`` for a first one, and one that resumes."""
    if outline.next_answers():
        return None
    for accepted in outline.queue.values():
        return accepted.attempt
    return None


def lost_before(accepted: e.MessageAccepted | None) -> str | None:
    """The run that was lost before this message was accepted again: a cancel may still name it."""
    return None if accepted is None or accepted.attempt is None else accepted.attempt.after


def queued_after(outline: Outline, run: str) -> str | None:
    """The queued message that is answered again since ``run`` was lost."""
    return next((id for id, one in outline.queue.items() if lost_before(one) == run), None)


async def read_recorded(session: Session, attempt: e.Attempt) -> Recorded:
    """What the attempts before this one have recorded."""
    records = await session.read_since(attempt.start, TYPES)
    found = [decode_record(record.data) for record in records]
    runs = chain(attempt.first, found)
    recorded = recorded_in(runs, found, (), shown=())
    return recorded._replace(repeatable=await read_repeatable(session, attempt.start, runs))

"""Logs written by hand, a line an event."""

from __future__ import annotations

from typing import Any

from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import Record, encode_event, extend
from agentws.protocol.position import GENESIS, Position

Line = tuple[e.Event, str | None]


def accepted(id: str, overlap: e.Overlap = "queue") -> Line:
    return e.MessageAccepted(m.UserMessage(id, f"question {id}"), overlap), None


def withdrawn(id: str, reason: str = "withdrawn") -> Line:
    return e.MessageWithdrawn(id, reason), None


def steered(id: str, run: str | None = None) -> Line:
    """Delivered to the run; undelivered without one."""
    return e.MessageSteered(id, "undelivered" if run is None else "delivered"), run


def edited(id: str, content: str | None = None) -> Line:
    return e.MessageEdited(m.UserMessage(id, content or f"edited {id}")), None


def promoted(id: str) -> Line:
    return e.MessagePromoted(id), None


def started(run: str, message: str, content: str | None = None) -> Line:
    if content is not None:
        given = m.RunAgentInput("t", run, [m.UserMessage(message, content)])
        return e.RunStarted("t", run, None, None, given), run
    given = m.RunAgentInput("t", run, [m.UserMessage(message, f"question {message}")])
    return e.RunStarted("t", run, None, None, given), run


def resumed(run: str, *interrupts: str) -> Line:
    entries = [m.ResumeEntry(id, "resolved") for id in interrupts]
    given = m.RunAgentInput("t", run, [], resume=entries or [])
    return e.RunStarted("t", run, None, None, given), run


def said(run: str) -> Line:
    return e.TextMessageStart(f"msg_{run}"), run


def cancelling(run: str) -> Line:
    return e.RunCancelling(), run


def finished(run: str) -> Line:
    return e.RunFinished("t", run), run


def stopped(run: str) -> Line:
    return e.RunFinished("t", run, None, m.CancelledOutcome()), run


def failed(run: str) -> Line:
    return e.RunError("it failed"), run


def asking(run: str, *interrupts: str) -> Line:
    questions = [m.Interrupt(id, "approval") for id in interrupts]
    return e.RunFinished("t", run, None, m.InterruptOutcome(questions)), run


def answered(interrupt: str) -> Line:
    return e.InterruptAnswered(interrupt, "resolved", "yes"), None


def cleared() -> Line:
    return e.HistoryCleared(), None


def branched(replaced: str, message: str, *, first: int, last: int, **changes: Any) -> Line:
    """A new branch ``b2`` instead of ``b1``, unless ``changes`` say otherwise."""
    names = {"left": "b1", "branch": "b2", "branches": ["b1", "b2"], **changes}
    return e.HistoryBranched(replaced, message, hidden=(first, last), **names), None


RUN: list[Line] = [accepted("m1"), started("r1", "m1")]
QUESTION: list[Line] = [*RUN, asking("r1", "q1")]


def log(*lines: Line) -> list[Record]:
    return extend(Position("e", 0, GENESIS), [encode_event(event, run=run) for event, run in lines])

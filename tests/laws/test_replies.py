"""The checker of replies: acknowledged, refused and leftover commands against the log."""

from __future__ import annotations

from typing import Any

import pytest

from agentws.protocol.position import Position

from .logs import (
    QUESTION,
    RUN,
    Line,
    accepted,
    answered,
    cancelling,
    cleared,
    finished,
    log,
    started,
    stopped,
    withdrawn,
)
from .replies import Account, Request

SEND = {"type": "send", "id": "m1", "content": "question m1"}
SECOND = {"type": "send", "id": "m2", "content": "question m2"}
REJECT = {**SECOND, "overlap": "reject"}
WITHDRAW = {"type": "withdraw", "id": "x", "message": "m1"}
STOP = {"type": "cancel", "id": "x"}
STOP_MESSAGE = {**STOP, "message": "m1"}
STOP_RUN = {**STOP, "run": "r1"}
ANSWER = {"type": "answer", "id": "x", "interrupt": "q1", "payload": "yes"}
CLEAR = {"type": "command", "id": "x", "name": "clear"}

Frame = dict[str, Any]


def done(frame: Frame, seq: int, *, sent_at: int, replied_at: int, **members: Any) -> Request:
    reply = {
        "type": "accepted",
        "position": str(Position("e", seq, "0" * 16 if seq else "")),
        **members,
    }
    return Request(0, frame, sent_at, sent_at, reply, replied_at)


def refused(
    frame: Frame, code: str, *, sent_at: int, replied_at: int, retryable: bool = True
) -> Request:
    reply = {"type": "error", "code": code, "retryable": retryable}
    return Request(0, frame, sent_at, sent_at, reply, replied_at)


def lost(frame: Frame) -> Request:
    return Request(0, frame, 0, 0)


def account(lines: list[Line], *requests: Request) -> Account:
    return Account(log(*lines), requests, max_queued=2)


EFFECTIVE: dict[str, tuple[list[Line], Request]] = {
    "a message": (RUN, done(SEND, 1, sent_at=0, replied_at=2)),
    "a message again": (RUN, done(SEND, 1, sent_at=2, replied_at=2, duplicate=True)),
    "a withdrawal": ([accepted("m1"), withdrawn("m1")], done(WITHDRAW, 2, sent_at=1, replied_at=2)),
    "a stop": ([*RUN, cancelling("r1")], done(STOP, 3, sent_at=2, replied_at=3)),
    "a stop of a message": (
        [*RUN, cancelling("r1")],
        done(STOP_MESSAGE, 3, sent_at=2, replied_at=3),
    ),
    "a stop before the run": (
        [accepted("m1"), withdrawn("m1", "cancelled")],
        done(STOP_MESSAGE, 2, sent_at=1, replied_at=2),
    ),
    "a stop after the end": ([*RUN, finished("r1")], done(STOP_RUN, 3, sent_at=3, replied_at=3)),
    "a stop that races with the end": (
        [*RUN, finished("r1")],
        done(STOP_RUN, 3, sent_at=2, replied_at=3),
    ),
    "a stop while it stops": ([*RUN, cancelling("r1")], done(STOP, 3, sent_at=3, replied_at=3)),
    "a stop of nothing": ([], done(STOP, 0, sent_at=0, replied_at=0)),
    "a stop that leaves the next run alone": (
        [*RUN, finished("r1"), accepted("m2"), started("r2", "m2")],
        done(STOP, 5, sent_at=2, replied_at=5),
    ),
    "a stop of what waited when it was asked for": (
        [*RUN, cancelling("r1")],
        done(STOP, 3, sent_at=1, replied_at=3),
    ),
    "an answer": ([*QUESTION, answered("q1")], done(ANSWER, 4, sent_at=3, replied_at=4)),
    "a clear": ([cleared()], done(CLEAR, 1, sent_at=0, replied_at=1)),
}


@pytest.mark.parametrize(("lines", "one"), EFFECTIVE.values(), ids=EFFECTIVE)
def test_the_checker_accepts_a_true_acknowledgement(lines: list[Line], one: Request) -> None:
    assert list(account(lines, one).without_effect()) == []


WITHOUT_EFFECT: dict[str, tuple[list[Line], Request]] = {
    "a message": ([], done(SEND, 1, sent_at=0, replied_at=1)),
    "another's message": (RUN, done(SECOND, 1, sent_at=0, replied_at=2)),
    "a message that came later": (RUN, done(SEND, 1, sent_at=0, replied_at=0)),
    "a stop of a run that continues": (RUN, done(STOP, 2, sent_at=2, replied_at=2)),
    "a stop of a message that waits": (
        [accepted("m1")],
        done(STOP_MESSAGE, 0, sent_at=1, replied_at=1),
    ),
    "a stop of another run": (
        [*RUN, cancelling("r1"), stopped("r1"), accepted("m2"), started("r2", "m2")],
        done({**STOP, "run": "r2"}, 3, sent_at=6, replied_at=6),
    ),
    "a stop of the next run": (
        [*RUN, accepted("m2"), finished("r1"), started("r2", "m2"), cancelling("r2")],
        done(STOP, 6, sent_at=3, replied_at=6),
    ),
    "a withdrawal": (RUN, done(WITHDRAW, 2, sent_at=1, replied_at=2)),
    "another's answer": (
        [*QUESTION, answered("q1")],
        done({**ANSWER, "payload": "no"}, 4, sent_at=3, replied_at=4),
    ),
    "a clear": (RUN, done(CLEAR, 2, sent_at=2, replied_at=2)),
}


@pytest.mark.parametrize(("lines", "one"), WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_the_checker_rejects_a_false_acknowledgement(lines: list[Line], one: Request) -> None:
    assert len(list(account(lines, one).without_effect())) == 1


JUSTIFIED: dict[str, tuple[list[Line], Request]] = {
    "the log grows too fast": (RUN, refused(SECOND, "conflict", sent_at=0, replied_at=2)),
    "another body": (
        RUN,
        refused({**SEND, "content": "other"}, "idempotency_conflict", sent_at=2, replied_at=2),
    ),
    "a run": (RUN, refused(REJECT, "run_active", sent_at=2, replied_at=2)),
    "a message that waits": (RUN, refused(REJECT, "run_active", sent_at=0, replied_at=1)),
    "a full queue": (
        [*RUN, accepted("m3"), accepted("m4")],
        refused(SECOND, "queue_full", sent_at=4, replied_at=4),
    ),
    "nothing to withdraw": (RUN, refused(WITHDRAW, "not_found", sent_at=2, replied_at=2)),
    "a run begins before it is withdrawn": (
        RUN,
        refused(WITHDRAW, "not_found", sent_at=1, replied_at=2),
    ),
    "no question": (RUN, refused(ANSWER, "not_found", sent_at=2, replied_at=2)),
    "another answer": (
        [*QUESTION, answered("q1")],
        refused({**ANSWER, "payload": "no"}, "already_answered", sent_at=3, replied_at=4),
    ),
    "a clear in a run": (RUN, refused(CLEAR, "run_active", sent_at=2, replied_at=2)),
}


@pytest.mark.parametrize(("lines", "one"), JUSTIFIED.values(), ids=JUSTIFIED)
def test_the_checker_accepts_a_true_refusal(lines: list[Line], one: Request) -> None:
    assert list(account(lines, one).without_cause()) == []


WITHOUT_CAUSE: dict[str, tuple[list[Line], Request]] = {
    "nothing open": (
        [*RUN, finished("r1")],
        refused(REJECT, "run_active", sent_at=3, replied_at=3),
    ),
    "no reject": (RUN, refused(SECOND, "run_active", sent_at=2, replied_at=2)),
    "room": ([*RUN, accepted("m3")], refused(SECOND, "queue_full", sent_at=3, replied_at=3)),
    "a resend": (RUN, refused(SEND, "queue_full", sent_at=2, replied_at=2)),
    "the same body": (RUN, refused(SEND, "idempotency_conflict", sent_at=2, replied_at=2)),
    "it waits": ([accepted("m1")], refused(WITHDRAW, "not_found", sent_at=1, replied_at=1)),
    "it is asked": (QUESTION, refused(ANSWER, "not_found", sent_at=3, replied_at=3)),
    "the same answer": (
        [*QUESTION, answered("q1")],
        refused(ANSWER, "already_answered", sent_at=4, replied_at=4),
    ),
    "a clear of nothing open": ([], refused(CLEAR, "run_active", sent_at=0, replied_at=0)),
    "a final conflict": (RUN, refused(STOP, "conflict", sent_at=0, replied_at=2, retryable=False)),
    "an unknown error": (RUN, refused(STOP, "internal", sent_at=0, replied_at=2)),
}


@pytest.mark.parametrize(("lines", "one"), WITHOUT_CAUSE.values(), ids=WITHOUT_CAUSE)
def test_the_checker_rejects_a_false_refusal(lines: list[Line], one: Request) -> None:
    assert len(list(account(lines, one).without_cause())) == 1


def test_the_checker_finds_events_of_a_refused_command() -> None:
    one = refused(SEND, "queue_full", sent_at=0, replied_at=0)
    assert len(list(account(RUN, one).unowned())) == 1
    assert list(account(RUN, one, lost(SEND)).unowned()) == []
    assert list(account(RUN, done(SEND, 1, sent_at=0, replied_at=1)).unowned()) == []


def test_the_checker_rejects_one_event_for_two_commands() -> None:
    twice = [done(SEND, 1, sent_at=0, replied_at=1) for _ in range(2)]
    assert len(list(account(RUN, *twice).doubled())) == 1
    again = done(SEND, 1, sent_at=0, replied_at=1, duplicate=True)
    assert list(account(RUN, twice[0], again).doubled()) == []

"""The checker of laws accepts legal logs, and knows what is open in them."""

from __future__ import annotations

import pytest

from agentws.testing.laws import NOTHING, moments, violations

from .logs import (
    RUN,
    Line,
    accepted,
    answered,
    asking,
    branched,
    cancelling,
    cleared,
    edited,
    failed,
    finished,
    log,
    promoted,
    resumed,
    said,
    started,
    steered,
    stopped,
    withdrawn,
)

GOOD: dict[str, list[Line]] = {
    "nothing": [],
    "an answer": [accepted("m1"), started("r1", "m1"), said("r1"), finished("r1")],
    "a failure": [accepted("m1"), started("r1", "m1"), failed("r1")],
    "a queue in its order": [
        accepted("m1"),
        accepted("m2"),
        started("r1", "m1"),
        accepted("m3"),
        finished("r1"),
        started("r2", "m2"),
        finished("r2"),
        started("r3", "m3"),
        finished("r3"),
    ],
    "a stop": [accepted("m1"), started("r1", "m1"), cancelling("r1"), stopped("r1")],
    "a stop that the agent was faster than": [
        accepted("m1"),
        started("r1", "m1"),
        cancelling("r1"),
        finished("r1"),
    ],
    "an interruption": [
        accepted("m1"),
        started("r1", "m1"),
        accepted("m2"),
        accepted("m3", "interrupt"),
        stopped("r1"),
        started("r3", "m3"),
        finished("r3"),
        started("r2", "m2"),
        finished("r2"),
    ],
    "an interruption before the run began": [
        accepted("m1"),
        accepted("m2", "interrupt"),
        started("r2", "m2"),
        finished("r2"),
        started("r1", "m1"),
        finished("r1"),
    ],
    "a message that steers": [
        accepted("m1"),
        started("r1", "m1"),
        accepted("m2", "steer"),
        said("r1"),
        steered("m2", "r1"),
        finished("r1"),
    ],
    "messages that steer too late": [
        accepted("m1"),
        started("r1", "m1"),
        accepted("m2"),
        accepted("m3", "steer"),
        accepted("m4", "steer"),
        failed("r1"),
        steered("m3"),
        steered("m4"),
        started("r3", "m3"),
        finished("r3"),
        started("r4", "m4"),
        finished("r4"),
        started("r2", "m2"),
        finished("r2"),
    ],
    "messages that no run can take": [
        accepted("m1", "steer"),
        steered("m1"),
        started("r1", "m1"),
        accepted("m2"),
        cancelling("r1"),
        accepted("m3", "steer"),
        steered("m3"),
        stopped("r1"),
        started("r2", "m2"),
        finished("r2"),
        started("r3", "m3"),
        finished("r3"),
    ],
    "a message that may not steer": [
        accepted("m1"),
        started("r1", "m1"),
        accepted("m2", "steer"),
        steered("m2"),
        finished("r1"),
        started("r2", "m2"),
        finished("r2"),
    ],
    "a steering message that is withdrawn": [
        accepted("m1"),
        started("r1", "m1"),
        accepted("m2", "steer"),
        accepted("m3", "steer"),
        withdrawn("m2"),
        finished("r1"),
        withdrawn("m3"),
    ],
    "a queue that is edited and moved": [
        accepted("m1"),
        started("r1", "m1"),
        accepted("m2"),
        accepted("m3"),
        edited("m2", "x"),
        promoted("m3"),
        accepted("m4", "steer"),
        promoted("m2"),
        finished("r1"),
        steered("m4"),
        started("r2", "m2", "x"),
        finished("r2"),
        started("r4", "m4"),
        finished("r4"),
        started("r3", "m3"),
        finished("r3"),
    ],
    "a withdrawal": [
        accepted("m1"),
        accepted("m2"),
        started("r1", "m1"),
        withdrawn("m2"),
        finished("r1"),
    ],
    "reject after the end": [
        accepted("m1"),
        started("r1", "m1"),
        finished("r1"),
        accepted("m2", "reject"),
        started("r2", "m2"),
        finished("r2"),
    ],
    "reject while a question is open": [
        accepted("m1"),
        started("r1", "m1"),
        asking("r1", "q1"),
        accepted("m2", "reject"),
        started("r2", "m2"),
        finished("r2"),
    ],
    "answers": [
        accepted("m1"),
        started("r1", "m1"),
        asking("r1", "q1", "q2"),
        answered("q1"),
        answered("q2"),
        resumed("r2", "q1", "q2"),
        asking("r2", "q1"),
        answered("q1"),
        resumed("r3", "q1"),
        finished("r3"),
    ],
    "answers before what waits": [
        accepted("m1"),
        started("r1", "m1"),
        accepted("m2"),
        asking("r1", "q1"),
        answered("q1"),
        resumed("r2", "q1"),
        finished("r2"),
        started("r3", "m2"),
        finished("r3"),
    ],
    "a clear forgets the question": [
        accepted("m1"),
        started("r1", "m1"),
        asking("r1", "q1"),
        cleared(),
        accepted("m2"),
        started("r2", "m2"),
        finished("r2"),
    ],
    "answered again, edited, and gone back": [
        accepted("m1"),
        started("r1", "m1"),
        finished("r1"),
        branched("m1", "m1", first=2, last=3),
        accepted("m1"),
        started("r2", "m1"),
        finished("r2"),
        branched("m1", "m1", first=6, last=7, left="b2", branch="b1"),
        branched("m1", "m2", first=2, last=8, branch="b3", branches=["b1", "b2", "b3"]),
        accepted("m2"),
        started("r3", "m2"),
        finished("r3"),
    ],
    "a branch that never begins": [
        accepted("m1"),
        started("r1", "m1"),
        finished("r1"),
        branched("m1", "m1", first=2, last=3),
        accepted("m1"),
        withdrawn("m1"),
        branched("m1", "m1", first=4, last=4, left="b2", branch="b1", branches=["b1"]),
        branched("m1", "m1", first=2, last=7, branch="b3", branches=["b1", "b3"]),
        accepted("m1"),
        started("r2", "m1"),
        finished("r2"),
    ],
    "a branch closes the question": [
        accepted("m1"),
        started("r1", "m1"),
        asking("r1", "q1"),
        branched("m1", "m2", first=2, last=3, interrupts=["q1"]),
        accepted("m2"),
        started("r2", "m2"),
        finished("r2"),
    ],
}


@pytest.mark.parametrize("lines", GOOD.values(), ids=GOOD)
def test_the_checker_accepts_a_legal_log(lines: list[Line]) -> None:
    assert violations(log(*lines), max_queued=3) == []
    assert moments(log(*lines))[-1].settled


def test_the_checker_accepts_open_items_in_an_unfinished_log() -> None:
    assert violations(log(*RUN), ended=False) == []


def test_the_checker_knows_what_was_open_at_each_event() -> None:
    shown = moments(log(*RUN, accepted("m2"), cancelling("r1"), asking("r1", "q1"), cleared()))
    assert [one.queue for one in shown] == [(), ("m1",), (), ("m2",), ("m2",), ("m2",), ("m2",)]
    assert [one.run for one in shown] == [None, None, "r1", "r1", "r1", None, None]
    assert [one.stopping for one in shown] == [False, False, False, False, True, False, False]
    assert [one.interrupts for one in shown][-2:] == [{"q1"}, set()]
    assert shown[0] == NOTHING

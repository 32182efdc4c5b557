"""The checker of laws rejects illegal logs: each law has some that break it."""

from __future__ import annotations

import pytest

from agentws.testing.laws import violations

from .logs import (
    QUESTION,
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

BAD: dict[str, tuple[str, list[Line]]] = {
    "run, then withdrawn": (
        "a message is withdrawn or answered, not both",
        [*RUN, withdrawn("m1")],
    ),
    "answered, then withdrawn": (
        "a message is withdrawn or answered, not both",
        [*RUN, finished("r1"), withdrawn("m1")],
    ),
    "withdrawn, then run": (
        "a message is withdrawn or answered, not both",
        [accepted("m1"), accepted("m2"), withdrawn("m1"), started("r1", "m1")],
    ),
    "withdrawn twice": (
        "only a queued message is withdrawn",
        [accepted("m1"), withdrawn("m1"), withdrawn("m1")],
    ),
    "withdrawn before it came": ("only a queued message is withdrawn", [withdrawn("m1")]),
    "a stop after the end": (
        "a stop is requested before the run ends",
        [*RUN, finished("r1"), cancelling("r1")],
    ),
    "a stop in the next run": (
        "a stop is requested before the run ends",
        [*RUN, accepted("m2"), finished("r1"), started("r2", "m2"), cancelling("r1")],
    ),
    "a stop of no run": ("a stop is requested before the run ends", [cancelling("r1")]),
    "two stops": (
        "a run is stopped once",
        [*RUN, cancelling("r1"), cancelling("r1")],
    ),
    "stopped unasked": ("a run is cancelled only after a request", [*RUN, stopped("r1")]),
    "stopped by one that came before": (
        "a run is cancelled only after a request",
        [*RUN, finished("r1"), accepted("m2", "interrupt"), started("r2", "m2"), stopped("r2")],
    ),
    "reject during a run": (
        "overlap reject is accepted only while nothing is open",
        [*RUN, accepted("m2", "reject")],
    ),
    "reject while one waits": (
        "overlap reject is accepted only while nothing is open",
        [accepted("m1"), accepted("m2", "reject")],
    ),
    "reject while a run is due": (
        "overlap reject is accepted only while nothing is open",
        [*QUESTION, answered("q1"), accepted("m2", "reject")],
    ),
    "a queue too long": (
        "the queue is bounded",
        [*RUN, accepted("m2"), accepted("m3"), accepted("m4", "interrupt")],
    ),
    "cleared in a run": ("the history is cleared only while nothing is open", [*RUN, cleared()]),
    "cleared with a queue": (
        "the history is cleared only while nothing is open",
        [accepted("m1"), cleared()],
    ),
    "branched in a run": (
        "the conversation branches only while nothing is open",
        [*RUN, branched("m1", "m2", first=2, last=2)],
    ),
    "branched with a queue": (
        "the conversation branches only while nothing is open",
        [*RUN, accepted("m2"), finished("r1"), branched("m1", "m3", first=2, last=4)],
    ),
    "gone back with a message that was not withdrawn": (
        "a branch goes away only with the message that it would begin with",
        [*RUN, finished("r1"), branched("m1", "m1", first=2, last=3, branches=["b2"])],
    ),
    "replaced before it was answered": (
        "only an answered message is replaced",
        [*RUN, finished("r1"), branched("m2", "m3", first=2, last=3)],
    ),
    "hidden before it is there": (
        "only what is in the log goes out of view",
        [*RUN, finished("r1"), branched("m1", "m2", first=2, last=4)],
    ),
    "accepted again by a switch": (
        "a message is accepted once",
        [
            *RUN,
            finished("r1"),
            branched("m1", "m1", first=2, last=3),
            accepted("m1"),
            started("r2", "m1"),
            finished("r2"),
            branched("m1", "m1", first=6, last=7, left="b2", branch="b1"),
            accepted("m1"),
        ],
    ),
    "answered on another branch": (
        "only an open question is answered",
        [
            *QUESTION,
            branched("m1", "m2", first=2, last=3, interrupts=["q1"]),
            answered("q1"),
        ],
    ),
    "answered twice": (
        "only an open question is answered",
        [*QUESTION, answered("q1"), answered("q1")],
    ),
    "answered after a clear": (
        "only an open question is answered",
        [*QUESTION, cleared(), answered("q1")],
    ),
    "answered, never asked": ("only an open question is answered", [answered("q1")]),
    "accepted twice": ("a message is accepted once", [*RUN, finished("r1"), accepted("m1")]),
    "answered by two runs": (
        "a message is answered once",
        [*RUN, finished("r1"), started("r2", "m1")],
    ),
    "a run of nothing": ("a run answers a queued message or open questions", [started("r1", "m1")]),
    "a run of answers that were cleared": (
        "a run answers a queued message or open questions",
        [*QUESTION, answered("q1"), cleared(), resumed("r2", "q1")],
    ),
    "a run of half of the answers": (
        "a run answers a queued message or open questions",
        [*RUN, asking("r1", "q1", "q2"), answered("q1"), resumed("r2", "q1")],
    ),
    "a run with another's answers": (
        "a run answers a queued message or open questions",
        [*QUESTION, answered("q1"), resumed("r2", "q2")],
    ),
    "out of turn": (
        "runs answer messages in the order of the queue",
        [accepted("m1"), accepted("m2"), started("r2", "m2")],
    ),
    "before one that interrupts": (
        "runs answer messages in the order of the queue",
        [accepted("m1"), accepted("m2", "interrupt"), started("r1", "m1")],
    ),
    "before the answers": (
        "runs answer messages in the order of the queue",
        [*QUESTION, answered("q1"), accepted("m2"), started("r2", "m2")],
    ),
    "steered twice": (
        "a steering message has one outcome",
        [*RUN, accepted("m2", "steer"), steered("m2", "r1"), steered("m2", "r1")],
    ),
    "steered after its end": (
        "a run takes messages that steer it",
        [*RUN, accepted("m2", "steer"), finished("r1"), steered("m2", "r1")],
    ),
    "steered while it stops": (
        "a run takes messages that steer it",
        [*RUN, accepted("m2", "steer"), cancelling("r1"), steered("m2", "r1")],
    ),
    "steered by one that was withdrawn": (
        "a steering message has one outcome",
        [*RUN, accepted("m2", "steer"), withdrawn("m2"), steered("m2", "r1")],
    ),
    "steered by one that waits": (
        "a steering message has one outcome",
        [*RUN, accepted("m2"), steered("m2", "r1")],
    ),
    "taken, then withdrawn": (
        "a message is withdrawn or answered, not both",
        [*RUN, accepted("m2", "steer"), steered("m2", "r1"), withdrawn("m2")],
    ),
    "taken, then answered": (
        "a message is answered once",
        [*RUN, accepted("m2", "steer"), steered("m2", "r1"), finished("r1"), started("r2", "m2")],
    ),
    "no outcome": (
        "an outcome comes before the next run",
        [*RUN, accepted("m2", "steer"), finished("r1"), started("r2", "m2")],
    ),
    "edited in its run": ("only a queued message is edited or promoted", [*RUN, edited("m1")]),
    "promoted while it steers": (
        "only a queued message is edited or promoted",
        [*RUN, accepted("m2", "steer"), promoted("m2")],
    ),
    "an old content": (
        "a run begins with the message as it is in the log",
        [accepted("m1"), edited("m1"), started("r1", "m1")],
    ),
    "behind one that was promoted": (
        "runs answer messages in the order of the queue",
        [accepted("m1"), accepted("m2"), promoted("m2"), started("r1", "m1")],
    ),
    "two runs": (
        "one run at a time",
        [accepted("m1"), accepted("m2"), started("r1", "m1"), started("r2", "m2")],
    ),
    "the same run again": (
        "a run begins once",
        [*RUN, finished("r1"), accepted("m2"), started("r1", "m2")],
    ),
    "two ends": ("a run ends once", [*RUN, finished("r1"), failed("r1")]),
    "an end of another": ("a run ends once", [*RUN, finished("r2")]),
    "said after the end": (
        "a run appends only between its start and its end",
        [*RUN, finished("r1"), said("r1")],
    ),
    "never answered": ("everything ends", [accepted("m1")]),
    "never ended": ("everything ends", RUN),
    "never gone on": ("everything ends", [*QUESTION, answered("q1")]),
}


@pytest.mark.parametrize(("law", "lines"), BAD.values(), ids=BAD)
def test_the_checker_rejects_an_illegal_log(law: str, lines: list[Line]) -> None:
    over = law == "everything ends"
    found = violations(log(*lines), max_queued=2 if law == "the queue is bounded" else None)
    assert {one.law for one in found if over or one.law != "everything ends"} == {law}
    assert found[0].seq == len(lines)


def test_every_law_has_a_log_that_breaks_it() -> None:
    broken = {one.law for _, lines in BAD.values() for one in violations(log(*lines), max_queued=2)}
    assert broken == {law for law, _ in BAD.values()}

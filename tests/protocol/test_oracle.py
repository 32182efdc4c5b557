"""The oracle detects wrong snapshots, and runs that were cancelled without a request."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import Record, encode_event, event_frames, extend
from agentws.protocol.fold import Fold
from agentws.protocol.position import GENESIS, Position
from agentws.protocol.snapshots import snapshot_records
from agentws.testing.oracle import check_client, check_log

Line = tuple[e.Event, str | None]


def accepted(id: str, overlap: e.Overlap = "queue") -> Line:
    return e.MessageAccepted(m.UserMessage(id, f"question {id}"), overlap), None


def started(run: str, message: str) -> Line:
    question = m.UserMessage(message, f"question {message}")
    return e.RunStarted("t", run, None, None, m.RunAgentInput("t", run, [question])), run


def finished(run: str, outcome: m.RunOutcome | None = None) -> Line:
    return e.RunFinished("t", run, None, outcome), run


def log(*lines: Line) -> list[Record]:
    return extend(Position("e", 0, GENESIS), [encode_event(event, run=run) for event, run in lines])


# Snapshots

ASKS = m.Interrupt("int_1", "approval")
BEFORE: list[Line] = [
    accepted("m1"),
    started("run_1", "m1"),
    (e.StateSnapshot({"n": 1}), "run_1"),
    accepted("m2"),
    accepted("m3"),
    finished("run_1", m.InterruptOutcome([ASKS])),
]
AFTER: list[Line] = [(e.NoticePosted("note", "info"), None)]


def shown(
    before: list[Line] = BEFORE,
    after: list[Line] = AFTER,
    *,
    state: object = ...,
    queued: list[int] | None = None,
    interrupts: list[m.Interrupt] | None = None,
    messages: list[m.Message] | None = None,
) -> None:
    """Checks a client that began with a snapshot after the events ``before``.

    Options that are not given are as in the log; ``queued`` are indices in the queue.
    """
    records = log(*before, *after)
    fold = Fold().apply_all(records[: len(before)])
    queue = list(fold.outline.queue.values())
    place = records[len(before) - 1]
    extras = fold.outline.interrupts.values() if interrupts is None else interrupts
    snapshot = snapshot_records(
        Position("e", place.seq, place.tag),
        messages=fold.messages if messages is None else messages,
        state=fold.state if state is ... else state,
        queued=queue if queued is None else [queue[at] for at in queued],
        extras={"interrupts": list(extras)},
    )
    frames = event_frames("e", [*snapshot, *records[len(before) :]])
    head = records[-1]
    welcome: dict[str, Any] = {
        "type": "welcome",
        "resume": "snapshot",
        "reason": "no_position",
        "head": f"e.{head.seq}.{head.tag}",
    }
    check_client("e", records, [welcome, *map(msgspec.json.decode, frames)], complete=True)


@pytest.mark.parametrize("after", [AFTER, []], ids=["events follow", "nothing follows"])
def test_the_oracle_accepts_a_complete_snapshot(after: list[Line]) -> None:
    shown(after=after)
    shown([accepted("m1"), (e.NoticePosted("note", "info"), None)], after)


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": {"n": 2}},
        {"state": None},
        {"queued": [1]},
        {"queued": []},
        {"queued": [0]},
        {"queued": [1, 0]},
        {"queued": [0, 0, 1]},
        {"interrupts": []},
        {"interrupts": [m.Interrupt("int_1", "another")]},
        {"messages": []},
    ],
    ids=str,
)
@pytest.mark.parametrize("after", [AFTER, []], ids=["events follow", "nothing follows"])
def test_the_oracle_detects_a_wrong_snapshot(wrong: dict[str, Any], after: list[Line]) -> None:
    with pytest.raises(AssertionError):
        shown(after=after, **wrong)


def test_the_oracle_detects_a_state_that_was_never_set() -> None:
    with pytest.raises(AssertionError):
        shown([accepted("m1")], AFTER, state={})


def test_a_message_withdrawn_while_a_snapshot_is_read_may_be_missing() -> None:
    after: list[Line] = [
        (e.MessageWithdrawn("m3", "withdrawn"), None),
        (e.InterruptAnswered("int_1", "resolved"), None),
        started("run_2", "m2"),
    ]
    for queued in ([0, 1], [0], [1], []):
        shown(after=after, queued=queued)
        shown(after=after, queued=queued, interrupts=[])
    with pytest.raises(AssertionError):
        shown(after=after[2:], queued=[0])
    with pytest.raises(AssertionError):
        shown(after=after[2:], interrupts=[])


def test_history_cleared_while_a_snapshot_is_read_may_be_missing() -> None:
    after: list[Line] = [(e.HistoryCleared(), None)]
    shown(after=after, messages=[])
    shown(after=after, messages=[], interrupts=[])


# Stops

CANCELLED = m.CancelledOutcome()
STOP: Line = (e.RunCancelling(), "run_1")
BEGUN = [accepted("m1"), started("run_1", "m1")]
WITHDRAWN: Line = (e.MessageWithdrawn("m1", "withdrawn"), None)

STOPPED: dict[str, list[Line]] = {
    "asked": [*BEGUN, STOP, finished("run_1", CANCELLED)],
    "withdrawn": [*BEGUN, WITHDRAWN, finished("run_1", CANCELLED)],
    "withdrawn before the run": [accepted("m1"), WITHDRAWN, BEGUN[1], finished("run_1", CANCELLED)],
    "overtaken": [
        *BEGUN,
        accepted("m2", "interrupt"),
        finished("run_1", CANCELLED),
        started("run_2", "m2"),
        finished("run_2"),
    ],
    "finished before it came": [*BEGUN, STOP, finished("run_1")],
    "too late": [*BEGUN, finished("run_1"), STOP],
}
UNASKED: dict[str, list[Line]] = {
    "without a request": [*BEGUN, finished("run_1", CANCELLED)],
    "a late stop hits the next": [
        *BEGUN,
        finished("run_1"),
        STOP,
        accepted("m2"),
        started("run_2", "m2"),
        finished("run_2", CANCELLED),
    ],
    "a stop that was carried out hits the next": [
        *STOPPED["asked"],
        accepted("m2"),
        started("run_2", "m2"),
        finished("run_2", CANCELLED),
    ],
    "another message was withdrawn": [
        *BEGUN,
        accepted("m2"),
        (e.MessageWithdrawn("m2", "withdrawn"), None),
        finished("run_1", CANCELLED),
    ],
    "a run that never was": [*BEGUN, (e.RunCancelling(), "run_9"), finished("run_1")],
}


@pytest.mark.parametrize("lines", STOPPED.values(), ids=STOPPED.keys())
def test_the_oracle_accepts_a_cancelled_run_that_was_requested_to_stop(lines: list[Line]) -> None:
    check_log(log(*lines))


@pytest.mark.parametrize("lines", UNASKED.values(), ids=UNASKED.keys())
def test_the_oracle_detects_a_cancelled_run_that_was_not_requested_to_stop(
    lines: list[Line],
) -> None:
    with pytest.raises(AssertionError):
        check_log(log(*lines))

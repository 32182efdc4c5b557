"""The outline of a session after each event: above all, which events stop a run."""

from __future__ import annotations

import msgspec
import pytest

from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.outline import Carried, Outline


def accepted(id: str, overlap: e.Overlap = "queue") -> e.MessageAccepted:
    return e.MessageAccepted(m.UserMessage(id, "go"), overlap)


def started(id: str, run: str = "r1") -> e.RunStarted:
    given = m.RunAgentInput("s", run, [m.UserMessage(id, "go")])
    return e.RunStarted("s", run, input=given)


def withdrawn(id: str) -> e.MessageWithdrawn:
    return e.MessageWithdrawn(id, "cancelled")


def outlined(*events: e.Event) -> Outline:
    outline = Outline()
    for event in events:
        outline.apply(event, "r1" if isinstance(event, e.RunCancelling) else None)
    return outline


STOPPED: dict[str, list[e.Event]] = {
    "asked": [accepted("m1"), started("m1"), e.RunCancelling()],
    "interrupted after": [accepted("m1"), started("m1"), accepted("m2", "interrupt")],
}
GOING_ON: dict[str, list[e.Event]] = {
    "plain": [accepted("m1"), started("m1")],
    "another waits": [accepted("m1"), started("m1"), accepted("m2")],
    "another is withdrawn": [accepted("m1"), accepted("m2"), started("m1"), withdrawn("m2")],
    "it interrupts": [accepted("m1"), accepted("m2", "interrupt"), started("m2")],
    "the later interruption first": [
        accepted("m1"),
        accepted("m2", "interrupt"),
        accepted("m3", "interrupt"),
        started("m3"),
    ],
}


@pytest.mark.parametrize("case", STOPPED)
def test_these_events_make_the_active_run_stop(case: str) -> None:
    assert outlined(*STOPPED[case]).cancelling


@pytest.mark.parametrize("case", GOING_ON)
def test_these_events_let_the_active_run_continue(case: str) -> None:
    assert not outlined(*GOING_ON[case]).cancelling


def test_the_carried_state_round_trips() -> None:
    asked = m.InterruptOutcome([m.Interrupt("q1", "approval"), m.Interrupt("q2", "approval")])
    outline = outlined(
        accepted("m1"),
        started("m1"),
        e.StateSnapshot({"n": [1]}),
        e.RunFinished("s", "r1", outcome=asked),
        e.InterruptAnswered("q1", "resolved", {"yes": True}),
    )
    data = msgspec.json.encode(outline.carried)
    again = Outline(msgspec.json.decode(data, type=Carried))
    assert again.carried == outline.carried
    assert not again.next_answers()
    again.apply(e.InterruptAnswered("q2", "resolved"), None)
    assert list(again.next_answers()) == list(again.answers) == ["q1", "q2"]
    assert list(again.answered) == ["q1", "q2"]


def test_a_run_resumes_when_its_own_questions_are_answered() -> None:
    outline = Outline()
    for run in ("r1", "r2"):
        asked = m.InterruptOutcome([m.Interrupt(f"{run}.{one}", "approval") for one in "ab"])
        outline.apply(e.RunFinished("s", run, outcome=asked), None)
    for id in ("r1.a", "r2.b"):
        outline.apply(e.InterruptAnswered(id, "resolved"), None)
        assert not outline.next_answers() and outline.is_settled()
    outline.apply(e.InterruptAnswered("r2.a", "resolved"), None)
    assert list(outline.next_answers()) == ["r2.b", "r2.a"] and not outline.is_settled()
    resume = [m.ResumeEntry(id, "resolved") for id in ("r2.b", "r2.a")]
    given = m.RunAgentInput("s", "r3", [], resume=resume)
    outline.apply(e.RunStarted("s", "r3", input=given), "r3")
    assert list(outline.answers) == list(outline.answered) == ["r1.a"]
    assert list(outline.interrupts) == ["r1.b"]


def test_only_the_newest_interrupts_are_remembered() -> None:
    outline = Outline()
    for number in range(150):
        asked = m.InterruptOutcome([m.Interrupt(f"q{number}", "approval")])
        outline.apply(e.RunFinished("s", f"r{number}", outcome=asked), None)
        outline.apply(e.InterruptAnswered(f"q{number}", "resolved"), None)
        resume = [m.ResumeEntry(f"q{number}", "resolved")]
        given = m.RunAgentInput("s", "r", [], resume=resume)
        outline.apply(e.RunStarted("s", "r", input=given), "r")
    assert list(outline.asked)[:-1] == [f"q{number}" for number in range(49, 149)]

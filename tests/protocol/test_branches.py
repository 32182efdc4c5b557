"""Branches and ranges, against a model that keeps every seq and every turn."""

from __future__ import annotations

import random
from typing import NamedTuple

import msgspec
import pytest

from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.branches import REMEMBERED, UNBRANCHED, Branches, mark, with_mark
from agentws.protocol.codec import Record, encode_event, extend
from agentws.protocol.fold import Fold
from agentws.protocol.outline import Carried, Outline
from agentws.protocol.position import GENESIS, Position
from agentws.protocol.ranges import Ranges, before, cut, holds, join
from agentws.runs.branches import new_branch
from agentws.sessions import turns

SEEDS = range(40)


def seqs(ranges: Ranges) -> set[int]:
    return {seq for first, last in ranges for seq in range(first, last + 1)}


def ranges_of(chance: random.Random) -> Ranges:
    found: Ranges = ()
    for _ in range(chance.randrange(6)):
        first = chance.randrange(1, 40)
        found = join(found, ((first, first + chance.randrange(6)),))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_ranges_are_sets_of_seqs(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(30):
        one, other = ranges_of(chance), ranges_of(chance)
        assert seqs(join(one, other)) == seqs(one) | seqs(other)
        assert seqs(cut(one, other)) == seqs(one) - seqs(other)
        for ranges in (join(one, other), cut(one, other)):
            assert all(first <= last for first, last in ranges)
            assert all(a[1] + 1 < b[0] for a, b in zip(ranges, ranges[1:], strict=False))
        for seq in range(1, 50):
            assert holds(one, seq) == (seq in seqs(one))
            nearest = next(at for at in range(seq, 0, -1) if at - 1 not in seqs(one))
            assert before(one, seq) == nearest


class Turn(NamedTuple):
    message: str
    first: int
    last: int


class Model:
    """A conversation that branches, as lists of turns, and its log as the gateway writes it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.events: list[tuple[e.Event, str | None]] = []
        self.view: list[Turn] = []
        self.kept: dict[str, list[Turn]] = {}
        """What comes back with a branch that is out of view."""
        self.at: dict[str, list[str]] = {}
        """The branches at the place of a message, by each of the messages there."""
        self.begins: dict[str, str] = {}
        self.number = 0

    @property
    def head(self) -> int:
        return len(self.events)

    def name(self, kind: str) -> str:
        self.number += 1
        return f"{kind}{self.number}"

    def write(self, event: e.Event, run: str | None = None) -> None:
        self.events.append((event, run))

    def turn(self, message: str, metadata: m.Metadata | None = None) -> None:
        asked, run = m.UserMessage(message, message, metadata=metadata), self.name("run")
        self.write(e.MessageAccepted(asked, "queue"))
        first = self.head + 1
        self.write(e.RunStarted("t", run, None, None, m.RunAgentInput("t", run, [asked])), run)
        for _ in range(self.chance.randrange(3)):
            said = self.name("said")
            self.write(e.TextMessageStart(said), run)
            self.write(e.TextMessageContent(message_id=said, delta=said), run)
            self.write(e.TextMessageEnd(said), run)
        self.write(e.RunFinished("t", run), run)
        self.view.append(Turn(message, first, self.head))

    def branch(self, at: int, message: str) -> None:
        old = self.view[at]
        known = self.at.get(old.message)
        ids = known or [self.name("br")]
        left = self.current(ids, old.message)
        begun = self.name("br")
        self.leave(at, left, old.message)
        ids.append(begun)
        for one in (old.message, message):
            self.at[one] = ids
        self.begins[begun] = message
        event = e.HistoryBranched(
            old.message, message, left, begun, list(ids), (old.first, self.head)
        )
        self.write(event)
        if self.chance.randrange(4) == 0:
            # As a message that interrupts, or is promoted.
            self.turn(self.name("first"))
        self.turn(message, {"agentws": {"branches": mark(begun, ids)}})

    def current(self, ids: list[str], message: str) -> str:
        return next(id for id in ids if id not in self.kept)

    def leave(self, at: int, branch: str, message: str) -> None:
        self.begins[branch] = message
        self.kept[branch] = self.view[at:]
        del self.view[at:]

    def switch(self, at: int, branch: str) -> None:
        old = self.view[at]
        ids = self.at[old.message]
        left = self.current(ids, old.message)
        if branch == left:
            return
        self.leave(at, left, old.message)
        self.view = sorted([*self.view, *self.kept.pop(branch)], key=lambda turn: turn.first)
        hidden = (old.first, self.head)
        self.write(
            e.HistoryBranched(
                old.message, self.begins[branch], left, branch, list(ids), hidden, reload=True
            )
        )

    def withdraw(self, at: int, message: str) -> None:
        """Begins a branch with a message that is withdrawn before its run."""
        old, begun = self.view[at], self.name("br")
        ids = self.at.get(old.message) or [self.name("br")]
        left, several = self.current(ids, old.message), [*ids, begun]
        hidden = (old.first, self.head)
        self.write(e.HistoryBranched(old.message, message, left, begun, several, hidden))
        start = self.head
        marked = with_mark(m.UserMessage(message, message), mark(begun, several))
        self.write(e.MessageAccepted(marked, "queue"))
        self.write(e.MessageWithdrawn(message, "withdrawn"))
        self.write(
            e.HistoryBranched(
                message, old.message, begun, left, list(ids), (start, start), reload=True
            )
        )

    def step(self, *, switch: bool = True) -> None:
        at = self.chance.randrange(len(self.view)) if self.view else 0
        does = self.chance.randrange(6 if switch else 4)
        if not self.view or does < 2:
            self.turn(self.name("m"))
        elif does == 2:
            self.branch(at, self.view[at].message)
        elif does == 3:
            self.branch(at, self.name("m"))
        elif does == 5:
            again = self.chance.random() < 0.5
            self.withdraw(at, self.view[at].message if again else self.name("m"))
        elif self.view[at].message in self.at:
            self.switch(at, self.chance.choice(self.at[self.view[at].message]))

    def records(self) -> list[Record]:
        datas = [encode_event(event, run=run) for event, run in self.events]
        return extend(Position("e", 0, GENESIS), datas)

    def marks(self) -> dict[str, object]:
        return {
            turn.message: mark(self.current(ids, turn.message), ids)
            for turn in self.view
            if (ids := self.at.get(turn.message)) is not None
        }


def marks_in(messages: list[m.Message]) -> dict[str, object]:
    return {
        one.id: one.metadata["agentws"]["branches"]
        for one in messages
        if one.metadata and "branches" in one.metadata.get("agentws", {})
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_hidden_is_what_the_model_does_not_show(seed: int) -> None:
    model, outline, done = Model(seed), Outline(), 0
    for _ in range(30):
        model.step()
        for event, run in model.events[done:]:
            outline.apply(event, run)
        done = model.head
        in_turns = {seq for turn in model.view for seq in range(turn.first, turn.last + 1)}
        ever = {
            seq
            for turn in [*model.view, *(one for kept in model.kept.values() for one in kept)]
            for seq in range(turn.first, turn.last + 1)
        }
        hidden = seqs(outline.branches.hidden)
        assert hidden & ever == ever - in_turns
        data = msgspec.json.encode(outline.carried)
        outline = Outline(msgspec.json.decode(data, type=Carried))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fold_of_the_whole_log_and_one_of_what_is_in_view_are_the_same(seed: int) -> None:
    model = Model(seed)
    for _ in range(30):
        model.step()
    records = model.records()
    whole, outline = Fold().apply_all(records), Outline()
    for event, run in model.events:
        outline.apply(event, run)
    hidden = outline.branches.hidden
    part = Fold()
    for record, (event, run) in zip(records, model.events, strict=True):
        if not holds(hidden, record.seq) and not isinstance(event, e.HistoryBranched):
            part.apply(event, run)
    marked = outline.branches.marked(part.messages)
    assert whole.messages == marked
    assert marks_in(marked) == model.marks()
    users = [one.id for one in marked if isinstance(one, m.UserMessage)]
    assert users == [turn.message for turn in model.view]


def regenerated(branches: Branches, number: int, message: str = "m") -> Branches:
    fork = branches.fork_at(message)
    left = "br_0" if fork is None else fork.current
    ids = [left] if fork is None else fork.ids
    new = f"br_{number}"
    hidden = (10 * number, 10 * number + 5)
    event = e.HistoryBranched(message, message, left, new, [*ids, new], hidden)
    return branches.after(event)


def test_the_branch_that_left_first_is_forgotten_and_stays_out_of_view() -> None:
    branches = UNBRANCHED
    for number in range(1, REMEMBERED + 3):
        branches = regenerated(branches, number)
    (fork,) = branches.forks
    assert len(fork.branches) == REMEMBERED + 1
    assert fork.ids[0] == "br_2"
    assert branches.fork_with("br_0") is None
    assert holds(branches.hidden, 12)


def test_a_fork_whose_other_branches_are_forgotten_is_none() -> None:
    branches = regenerated(UNBRANCHED, 1, "early")
    for number in range(2, REMEMBERED + 2):
        branches = regenerated(branches, number, "late")
    assert branches.fork_at("early") is None
    stale = m.UserMessage("early", "?", metadata={"agentws": {"branches": mark("a", ["a"])}})
    assert branches.marked([stale]) == [m.UserMessage("early", "?")]


def test_a_place_whose_other_branches_are_forgotten_is_no_longer_marked() -> None:
    model = Model(1)
    model.turn("early")
    model.branch(0, "early")
    fold = Fold().apply_all(model.records())
    assert "early" in marks_in(fold.messages)
    model.turn("late")
    for _ in range(REMEMBERED):
        model.branch(len(model.view) - 1, model.view[-1].message)
    fold = Fold().apply_all(model.records())
    assert "early" not in marks_in(fold.messages)
    assert len(marks_in(fold.messages)) == 1
    assert fold.messages == fold.outline.branches.marked(fold.messages)


def test_clients_load_the_marks_again_when_a_branch_at_another_place_is_forgotten() -> None:
    outline = Outline()
    outline.branches = regenerated(UNBRANCHED, 1, "early")
    for number in range(2, REMEMBERED):
        outline.branches = regenerated(outline.branches, number, "late")
    turn = turns.Turn(10 * REMEMBERED + 6, m.UserMessage("late", "?"), frozenset(), False)
    nothing = new_branch(outline, turn, "late", end=10 * REMEMBERED + 9)
    assert not nothing.reload
    outline.branches = outline.branches.after(nothing)
    turn = turn._replace(start=10 * REMEMBERED + 12)
    forgetting = new_branch(outline, turn, "late", end=10 * REMEMBERED + 20)
    assert forgetting.reload


def test_marking_keeps_other_metadata() -> None:
    message = m.UserMessage("m", "?", metadata={"a": 1, "agentws": {"status": "error"}})
    branches = mark("br_2", ["br_1", "br_2"])
    marked = with_mark(message, branches)
    assert marked.metadata == {"a": 1, "agentws": {"status": "error", "branches": branches}}
    assert with_mark(marked, None) == message


def test_clearing_the_history_ends_all_branches() -> None:
    outline = Outline()
    outline.branches = regenerated(UNBRANCHED, 1)
    outline.apply(e.HistoryCleared(), None)
    assert outline.branches is UNBRANCHED


def test_the_mark_of_a_message_stays_when_its_run_fails_without_an_answer() -> None:
    asked = with_mark(m.UserMessage("m", "?"), mark("b", ["a", "b"]))
    fold = Fold()
    fold.apply(e.RunStarted("t", "r", None, None, m.RunAgentInput("t", "r", [asked])), "r")
    fold.apply(e.RunError("It failed."), "r")
    assert fold.messages[0].metadata == {
        "agentws": {
            "status": "error",
            "message": "It failed.",
            "branches": {"current": 1, "ids": ["a", "b"]},
        }
    }

"""The events that a run makes of what its agent yields, case by case. See also test_laws.py."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agentws.errors import InvalidEvent
from agentws.protocol import events as e
from agentws.protocol.events import Event
from agentws.protocol.sequence import RunSequence
from agentws.testing.agui import Illegal, verify

SUBAGENTS: list[Event] = [e.SubagentStarted("a", "helper"), e.SubagentStarted("b", "helper")]


def admitted(*events: Event | str) -> list[Event]:
    """The events that a run makes of ``events``; checked by the verifier."""
    sequence, out = RunSequence("run_1"), list[Event]()
    for event in events:
        if isinstance(event, str):
            opening, id = sequence.begin_text()
            out += [*opening, e.TextMessageContent(message_id=id, delta=event)]
        else:
            out += sequence.admit(event)
    whole = [e.RunStarted("t", "run_1"), *out, *sequence.close(), e.RunFinished("t", "run_1")]
    verify(msgspec.to_builtins(event) for event in whole)
    return out


def texts(events: list[Event]) -> dict[str | None, list[str]]:
    """The texts of the messages, by the subagent that each belongs to."""
    owners: dict[str, str | None] = {}
    said: dict[str, str] = {}
    for event in events:
        match event:
            case e.TextMessageStart() | e.ReasoningMessageStart():
                owners[event.message_id] = event.subagent_run_id
            case e.TextMessageContent() | e.ReasoningMessageContent():
                said[event.message_id] = said.get(event.message_id, "") + event.delta
            case _:
                pass
    found: dict[str | None, list[str]] = {}
    for id, text in said.items():
        found.setdefault(owners[id], []).append(text)
    return found


# Chunks


@pytest.mark.parametrize("chunk", [e.TextMessageChunk, e.ReasoningMessageChunk])
def test_a_chunk_of_another_subagent_opens_a_new_message(chunk: Any) -> None:
    out = admitted(
        *SUBAGENTS,
        chunk(delta="from a", subagent_run_id="a"),
        chunk(delta=", more", subagent_run_id="a"),
        chunk(delta=" and more", subagent_run_id=None),
        chunk(delta="from b", subagent_run_id="b"),
    )
    assert texts(out) == {"a": ["from a, more and more"], "b": ["from b"]}


def test_a_chunk_of_a_subagent_does_not_continue_the_agents_message() -> None:
    out = admitted(*SUBAGENTS, "mine", e.TextMessageChunk(delta="a's", subagent_run_id="a"))
    assert texts(out) == {None: ["mine"], "a": ["a's"]}


def test_a_chunk_of_an_open_message_of_another_subagent_is_refused() -> None:
    with pytest.raises(InvalidEvent):
        admitted(
            *SUBAGENTS,
            e.TextMessageChunk("x", delta="1", subagent_run_id="a"),
            e.TextMessageChunk("x", delta="2", subagent_run_id="b"),
        )


def test_the_metadata_of_a_chunk_is_kept() -> None:
    out = admitted(
        e.TextMessageChunk(delta="x", metadata={"k": 1}, timestamp=5, raw_event={"r": 1}),
        e.TextMessageChunk(delta="y", metadata={"k": 2}, timestamp=6),
        e.TextMessageChunk(metadata={"k": 3}),
        e.ToolCallChunk("c", "look", metadata={"t": 1}, delta="{"),
        e.ToolCallChunk(delta="}", metadata={"t": 2}),
    )
    beside = [(type(one), one.metadata, one.timestamp, getattr(one, "delta", None)) for one in out]
    assert beside == [
        (e.TextMessageStart, {"k": 1}, 5, None),
        (e.TextMessageContent, None, None, "x"),
        (e.TextMessageContent, {"k": 2}, 6, "y"),
        (e.TextMessageContent, {"k": 3}, None, ""),
        (e.TextMessageEnd, None, None, None),
        (e.ToolCallStart, {"t": 1}, None, None),
        (e.ToolCallArgs, None, None, "{"),
        (e.ToolCallArgs, {"t": 2}, None, "}"),
    ]
    assert isinstance(out[0], e.TextMessageStart)
    assert out[0].raw_event == {"r": 1}


# Steps


def test_two_subagents_may_be_in_steps_of_the_same_name() -> None:
    out = admitted(
        *SUBAGENTS,
        e.StepStarted("search"),
        e.StepStarted("search", subagent_run_id="a"),
        e.StepStarted("search", subagent_run_id="b"),
        e.StepFinished("search", subagent_run_id="a"),
    )
    assert len(out) == 6
    closing = [one.subagent_run_id for one in closed(*out) if isinstance(one, e.StepFinished)]
    assert sorted(closing, key=str) == [None, "b"]


def closed(*events: Event) -> list[Event]:
    """The events that close what ``events`` left open."""
    sequence = RunSequence("run_1")
    for event in events:
        sequence.admit(event)
    return sequence.close()


def test_a_subagent_can_not_open_the_same_step_twice() -> None:
    twice = e.StepStarted("search", subagent_run_id="a")
    with pytest.raises(InvalidEvent):
        admitted(*SUBAGENTS, twice, twice)
    with pytest.raises(InvalidEvent):
        admitted(*SUBAGENTS, twice, e.StepFinished("search", subagent_run_id="b"))


def test_a_step_end_without_a_subagent_closes_the_open_step_of_that_name() -> None:
    out = admitted(
        *SUBAGENTS, e.StepStarted("search", subagent_run_id="a"), e.StepFinished("search")
    )
    assert out[-1] == e.StepFinished("search", subagent_run_id="a")
    with pytest.raises(InvalidEvent):
        admitted(
            *SUBAGENTS,
            e.StepStarted("search", subagent_run_id="a"),
            e.StepStarted("search", subagent_run_id="b"),
            e.StepFinished("search"),
        )


def test_the_verifier_tells_steps_of_two_subagents_apart() -> None:
    start = {"type": "RUN_STARTED"}
    opens = {"type": "STEP_STARTED", "stepName": "search"}
    ends = {"type": "STEP_FINISHED", "stepName": "search"}
    verify([start, opens, opens | {"subagentRunId": "a"}, ends, ends | {"subagentRunId": "a"}])
    with pytest.raises(Illegal):
        verify([start, opens | {"subagentRunId": "a"}, ends])
    with pytest.raises(Illegal):
        verify([start, opens, opens])

"""The fold of single events, case by case. Its properties are tested in test_laws.py."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import encode_event, extend
from agentws.protocol.events import Event
from agentws.protocol.fold import Fold
from agentws.protocol.position import GENESIS, Position


def conversation(*events: Event, run: str | None = "r") -> list[Any]:
    """The conversation after these events of a run, which are encoded and decoded."""
    start = encode_event(e.RunStarted("t", "r"), run="r")
    datas = [start, *(encode_event(event, run=run) for event in events)]
    fold = Fold().apply_all(extend(Position("e", 0, GENESIS), datas))
    shown: list[Any] = msgspec.to_builtins(fold.messages)
    return shown


def text(id: str, *deltas: str) -> list[Event]:
    return [
        e.TextMessageStart(id),
        *(e.TextMessageContent(message_id=id, delta=delta) for delta in deltas),
        e.TextMessageEnd(id),
    ]


def reasoning(id: str, delta: str) -> list[Event]:
    return [
        e.ReasoningMessageStart(id, "reasoning"),
        e.ReasoningMessageContent(message_id=id, delta=delta),
        e.ReasoningMessageEnd(id),
    ]


PLAN = e.ActivitySnapshot("plan", "plan", {"steps": [1]})
USER = m.UserMessage("u", "Hi")


# Event types of a newer version


def test_an_event_of_an_unknown_type_is_skipped() -> None:
    """A log may be read by an older or a newer version than the one that wrote it."""
    later = b'{"run":"r","event":{"type":"LATER_EVENT","messageId":7}}'
    gateway = b'{"event":{"type":"session.archived"}}'
    known = [encode_event(event, run="r") for event in text("a", "x")]
    fold = Fold().apply_all(extend(Position("e", 0, GENESIS), [gateway, *known[:1], later, *known]))
    assert [message.id for message in fold.messages] == ["a"]


# Snapshots of an agent's history


def test_a_snapshot_in_a_run_keeps_activities_and_reasoning_that_it_omits() -> None:
    snapshot = e.MessagesSnapshot([USER, m.AssistantMessage("a", "again")])
    shown = conversation(
        *reasoning("think", "Hm"), PLAN, *text("a", "x"), *text("b", "y"), snapshot
    )
    assert [one["id"] for one in shown] == ["think", "plan", "a", "u"]
    assert shown[2]["content"] == "again"


@pytest.mark.parametrize(
    ("brought", "left"),
    [
        (m.ReasoningMessage("other", "Aha"), ["plan", "other"]),
        (m.ActivityMessage("other", "plan", {}), ["think", "other"]),
    ],
)
def test_a_snapshot_in_a_run_replaces_message_types_that_it_contains(
    brought: m.Message, left: list[str]
) -> None:
    shown = conversation(*reasoning("think", "Hm"), PLAN, e.MessagesSnapshot([brought]))
    assert [one["id"] for one in shown] == left


def test_a_snapshot_outside_a_run_replaces_everything() -> None:
    fold = Fold()
    for event in [*reasoning("think", "Hm"), PLAN, *text("a", "x")]:
        fold.apply(event, "r")
    fold.apply(e.MessagesSnapshot([USER]))
    assert fold.messages == [USER]


def test_a_message_of_a_snapshot_can_be_continued() -> None:
    call = m.ToolCall("c", m.FunctionCall("look", "{"), encrypted_value="s1")
    restated: list[m.Message] = [
        m.AssistantMessage("a", "x", [call], subagent_run_id="sub", encrypted_value="s2"),
        m.ReasoningMessage("think", "H", encrypted_value="s3"),
        m.ActivityMessage("plan", "plan", {"steps": []}),
    ]
    before = [
        e.TextMessageStart("a"),
        e.ReasoningMessageStart("think", "reasoning"),
        e.ToolCallStart("c", "look", "a"),
    ]
    after = [
        e.TextMessageContent(message_id="a", delta="y"),
        e.ToolCallArgs(tool_call_id="c", delta="}"),
        e.ReasoningMessageContent(message_id="think", delta="m"),
        e.ActivityDelta("plan", "plan", [{"op": "add", "path": "/steps/-", "value": 1}]),
    ]
    shown = conversation(*before, e.MessagesSnapshot(restated), *after)
    assert shown == [
        {
            "role": "assistant",
            "id": "a",
            "content": "xy",
            "subagentRunId": "sub",
            "encryptedValue": "s2",
            "toolCalls": [
                {
                    "type": "function",
                    "id": "c",
                    "function": {"name": "look", "arguments": "{}"},
                    "encryptedValue": "s1",
                }
            ],
        },
        {"role": "reasoning", "id": "think", "content": "Hm", "encryptedValue": "s3"},
        {
            "role": "activity",
            "id": "plan",
            "activityType": "plan",
            "content": {"steps": [1]},
        },
    ]


# Metadata


def test_the_metadata_of_all_events_of_a_message_is_merged_into_it() -> None:
    (shown,) = conversation(
        e.TextMessageStart("a", metadata={"start": 1, "last": 1}),
        e.TextMessageContent(message_id="a", delta="x", metadata={"content": 2, "last": 2}),
        e.TextMessageContent(message_id="a", delta="y"),
        e.TextMessageEnd("a", metadata={"end": 3, "last": 3}),
    )
    assert shown["metadata"] == {"start": 1, "content": 2, "end": 3, "last": 3}
    assert shown["content"] == "xy"


def test_the_metadata_of_reasoning_events_is_merged_into_the_message() -> None:
    (shown,) = conversation(
        e.ReasoningMessageStart("a", "reasoning"),
        e.ReasoningMessageContent(message_id="a", delta="x", metadata={"a": 1}),
        e.ReasoningMessageEnd("a", metadata={"b": 2}),
    )
    assert shown["metadata"] == {"a": 1, "b": 2}


def test_the_metadata_of_a_call_belongs_to_the_call_not_to_its_message() -> None:
    (shown,) = conversation(
        e.ToolCallStart("c", "look", metadata={"a": 1}),
        e.ToolCallArgs(tool_call_id="c", delta="{", metadata={"b": 2}),
        e.ToolCallArgs(tool_call_id="c", delta="}"),
        e.ToolCallEnd("c", metadata={"c": 3}),
    )
    (call,) = shown["toolCalls"]
    assert call["metadata"] == {"a": 1, "b": 2, "c": 3}
    assert call["function"]["arguments"] == "{}"
    assert "metadata" not in shown


def test_the_metadata_of_an_activity_is_merged_into_its_message() -> None:
    (shown,) = conversation(
        e.ActivitySnapshot("p", "plan", {"x": 1}, metadata={"a": 1}),
        e.ActivityDelta("p", "plan", [], metadata={"b": 2}),
        e.ActivitySnapshot("p", "plan", {"x": 2}, metadata={"c": 3}),
    )
    assert (shown["content"], shown["metadata"]) == ({"x": 2}, {"a": 1, "b": 2, "c": 3})


def test_the_status_of_a_cancelled_run_is_in_the_agents_last_message() -> None:
    (shown,) = conversation(
        e.TextMessageStart("a", metadata={"a": 1}),
        e.TextMessageEnd("a"),
        e.RunFinished("t", "r", None, m.CancelledOutcome()),
    )
    assert shown["metadata"] == {"a": 1, "agentws": {"status": "cancelled"}}


def test_an_encrypted_value_is_kept_with_its_message() -> None:
    """The next request to the provider must contain it."""
    shown = conversation(
        *reasoning("think", "Hm"),
        e.ReasoningEncryptedValue("message", "think", "s1"),
        *text("a", "x"),
        e.ReasoningEncryptedValue("message", "a", "s2"),
        e.ToolCallStart("c", "look", "a"),
        e.ReasoningEncryptedValue("tool-call", "c", "s3"),
        e.ToolCallEnd("c"),
        e.ToolCallResult("result", "c", "42"),
        e.ReasoningEncryptedValue("message", "result", "s4"),
        PLAN,
        e.ReasoningEncryptedValue("message", "plan", "not of activities"),
        e.ReasoningEncryptedValue("tool-call", "nobody", "x"),
    )
    think, answer, result, plan = shown
    assert think["encryptedValue"] == "s1"
    assert answer["encryptedValue"] == "s2"
    assert answer["toolCalls"][0]["encryptedValue"] == "s3"
    assert result["encryptedValue"] == "s4"
    assert "encryptedValue" not in plan


@pytest.mark.parametrize("status", ["done", "error", "denied", "stopped"])
def test_the_message_of_a_failed_call_has_its_error(status: str) -> None:
    fold = Fold()
    fold.apply(e.ToolCallStart("c", "look"), "r")
    told = {"agentws": {"status": status}}
    fold.apply(e.ToolCallResult("result", "c", "so", metadata=told), "r")
    result = fold.messages[-1]
    assert isinstance(result, m.ToolMessage)
    assert (result.content, result.error) == ("so", None if status == "done" else "so")

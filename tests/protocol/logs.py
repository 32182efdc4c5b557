"""Random logs: random output of agents in legal order, with commands of clients in between."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from agentws.errors import InvalidEvent
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import Record, encode_event, extend
from agentws.protocol.events import Event
from agentws.protocol.position import GENESIS, Position
from agentws.protocol.sequence import RunSequence

ids = st.sampled_from(["a", "b", "c"])
owners = st.sampled_from([None, None, None, "s1", "s2"])
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)
tricky = st.sampled_from(['"', "\\", '","delta":"', '"}}', "\u2028", "é", "", "{}"]) | texts
metadata = st.sampled_from([None, None, {"k": 1}, {"a": 1, "delta": "x"}, {"delta": 'y"}}'}])
patches = st.lists(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "none"]),
            "path": st.sampled_from(["", "/x", "/x/0", "/x/-", "/nowhere/y", "x", 5]),
        },
        optional={
            "value": st.sampled_from([1, "v", [], {"y": 1}, None]),
            "from": st.sampled_from(["", "/x", "/x/0"]),
        },
    ),
    max_size=3,
)


def _restated() -> st.SearchStrategy[list[m.Message]]:
    user = st.builds(m.UserMessage, ids, texts)
    assistant = st.builds(
        m.AssistantMessage,
        ids,
        st.none() | texts,
        st.none() | st.just([m.ToolCall("c", m.FunctionCall("look", "{"), encrypted_value="x")]),
        subagent_run_id=owners,
        encrypted_value=st.none() | st.just("x"),
    )
    reasoning = st.builds(m.ReasoningMessage, ids, texts, encrypted_value=st.none() | st.just("x"))
    activity = st.builds(m.ActivityMessage, ids, st.just("plan"), st.just({"x": [1]}))
    one = user | assistant | reasoning | activity
    return st.lists(one, max_size=3, unique_by=lambda one: one.id)


EVENTS: list[st.SearchStrategy[Event]] = [
    st.builds(
        e.TextMessageStart,
        ids,
        st.sampled_from([None, "assistant", "user", "system"]),
        subagent_run_id=owners,
        metadata=metadata,
    ),
    st.builds(
        e.TextMessageContent,
        message_id=ids,
        delta=tricky,
        subagent_run_id=owners,
        metadata=metadata,
    ),
    st.builds(e.TextMessageEnd, ids, subagent_run_id=owners, metadata=metadata),
    st.builds(
        e.TextMessageChunk,
        st.none() | ids,
        delta=st.none() | tricky,
        subagent_run_id=owners,
        metadata=metadata,
    ),
    st.builds(e.ToolCallStart, ids, st.just("look"), st.none() | ids, subagent_run_id=owners),
    st.builds(
        e.ToolCallArgs, tool_call_id=ids, delta=tricky, subagent_run_id=owners, metadata=metadata
    ),
    st.builds(e.ToolCallEnd, ids, subagent_run_id=owners, metadata=metadata),
    st.builds(
        e.ToolCallChunk, st.none() | ids, st.none() | st.just("look"), st.none() | ids, tricky
    ),
    st.builds(e.ToolCallResult, st.sampled_from(["r1", "r2"]), ids, texts),
    st.builds(e.ReasoningStart, ids, subagent_run_id=owners),
    st.builds(e.ReasoningMessageStart, ids, st.just("reasoning"), subagent_run_id=owners),
    st.builds(e.ReasoningMessageContent, message_id=ids, delta=tricky),
    st.builds(e.ReasoningMessageEnd, ids, subagent_run_id=owners, metadata=metadata),
    st.builds(e.ReasoningMessageChunk, st.none() | ids, tricky),
    st.builds(e.ReasoningEnd, ids, subagent_run_id=owners),
    st.builds(e.StepStarted, ids, subagent_run_id=owners),
    st.builds(e.StepFinished, ids, subagent_run_id=owners),
    st.builds(
        e.SubagentStarted,
        st.sampled_from(["s1", "s2"]),
        st.just("helper"),
        parent_subagent_run_id=owners,
    ),
    st.builds(e.SubagentFinished, st.sampled_from(["s1", "s2"])),
    st.builds(e.SubagentError, st.sampled_from(["s1", "s2"]), st.just("failed")),
    st.builds(e.StateSnapshot, st.sampled_from([None, {}, {"x": [1]}, [1], 5])),
    st.builds(e.StateDelta, patches),
    st.builds(e.MessagesSnapshot, _restated()),
    st.builds(
        e.ActivitySnapshot, ids, st.just("plan"), st.just({"x": [1]}), st.none() | st.booleans()
    ),
    st.builds(e.ActivityDelta, ids, st.just("plan"), patches, metadata=metadata),
    st.builds(e.Raw, st.just({"delta": "x"})),
    st.builds(e.Custom, tricky, tricky, metadata=metadata),
    st.builds(
        e.ReasoningEncryptedValue, st.sampled_from(["message", "tool-call"]), ids, st.just("x")
    ),
]
event = st.one_of(EVENTS)
yielded = st.lists(st.one_of(event, tricky), max_size=25)
"""The output of one agent."""

TERMINALS: list[Event] = [
    e.RunFinished("t", "r"),
    e.RunFinished("t", "r", None, m.CancelledOutcome()),
    e.RunError("The agent failed.", "agent_error"),
]
BETWEEN: list[Event] = [
    e.NoticePosted("notice", "info"),
    e.HistoryCleared(),
    e.HistoryBranched("a", "d", "br_1", "br_2", ["br_1", "br_2"], (1, 2), ["q1"]),
    e.SessionUpdated("title", None),
    e.SessionUpdated(agent="billing"),
    e.RunCancelling(),
    e.MessageWithdrawn("x", "why"),
    e.StateChanged([{"op": "add", "path": "/x", "value": [2]}]),
    e.StateChanged([{"op": "add", "path": "/x/-", "value": 3}], "ann"),
]


def admit(sequence: RunSequence, items: list[Any]) -> list[Event]:
    """The events that a run writes for ``items``: up to one that is refused, then its end."""
    out: list[Event] = []
    for item in items:
        try:
            if isinstance(item, str):
                opening, id = sequence.begin_text()
                out += [*opening, e.TextMessageContent(message_id=id, delta=item)]
            else:
                out += sequence.admit(item)
        except InvalidEvent:
            break
    return out + sequence.close()


def _steers(draw: st.DrawFn, run: str, name: str) -> list[bytes]:
    """What clients do to the queue during a run: some of it steers, or can't."""
    message, other = m.UserMessage(name, draw(texts)), m.UserMessage(f"{name}-later", "later")
    changed = m.UserMessage(other.id, draw(texts))
    outcome = e.MessageSteered(name, "undelivered", "other_sender")
    delivered = encode_event(e.MessageSteered(name, "delivered"), run=run)
    happens: list[list[bytes | e.Event]] = [
        [],
        [delivered],
        [outcome],
        [e.MessageWithdrawn(name, "withdrawn")],
        [e.MessagePromoted(other.id), e.MessageEdited(changed)],
        [e.MessageEdited(changed), delivered],
    ]
    overlap: e.Overlap = draw(st.sampled_from(["queue", "interrupt"]))
    accepted = [e.MessageAccepted(message, "steer"), e.MessageAccepted(other, overlap)]
    some = [*accepted, *draw(st.sampled_from(happens))]
    return [one if isinstance(one, bytes) else encode_event(one) for one in some]


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """A log of up to three runs, with other events between; the last may be unfinished."""
    datas: list[bytes] = []
    for number in range(draw(st.integers(1, 3))):
        run, message = f"run_{number}", m.UserMessage(f"m{number}", draw(texts))
        accepted = e.MessageAccepted(message, "queue")
        given = m.RunAgentInput("t", run, [message])
        start = e.RunStarted("t", run, e.AGUI_VERSION, None, given)
        datas += [encode_event(accepted), encode_event(start, run=run)]
        for one in admit(RunSequence(run), draw(yielded)):
            datas.append(encode_event(one, run=run))
            if draw(st.integers(0, 9)) == 0:
                between = draw(st.sampled_from(BETWEEN[2:]))
                of_run = run if isinstance(between, e.RunCancelling) else None
                datas.append(encode_event(between, run=of_run))
            if draw(st.integers(0, 9)) == 0:
                datas += _steers(draw, run, f"s{len(datas)}")
        datas.append(encode_event(draw(st.sampled_from(TERMINALS)), run=run))
        if draw(st.booleans()):
            datas.append(encode_event(draw(st.sampled_from(BETWEEN))))
    if draw(st.booleans()):
        del datas[draw(st.integers(1, len(datas))) :]
    return extend(Position("e", 0, GENESIS), datas)

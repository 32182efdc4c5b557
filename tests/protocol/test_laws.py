"""Property tests of logs: merging, compaction, folds, snapshots, tags and the oracle."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentws.errors import InvalidEvent
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import (
    Record,
    decode_record,
    encode_event,
    event_frames,
    event_type,
    extend,
)
from agentws.protocol.fold import Fold
from agentws.protocol.frames import decode_server_message
from agentws.protocol.merge import merge
from agentws.protocol.outline import Outline
from agentws.protocol.position import GENESIS, Position, chain
from agentws.protocol.sequence import RunSequence
from agentws.testing.agui import Illegal, runs_of, verify
from agentws.testing.oracle import check_client, check_tags

from .logs import TERMINALS, admit, logs, yielded

lawful = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


ENDS = ("RUN_FINISHED", "RUN_ERROR")


def folded(records: list[Record]) -> Any:
    """The whole state of a fold, for comparison."""
    fold = Fold().apply_all(records)
    return msgspec.to_builtins([fold.messages, fold.state, fold.title])


def outlined(records: list[Record]) -> Any:
    outline = Outline()
    for record in records:
        body = decode_record(record.data)
        outline.apply(body.event, body.run)
    names = (
        "queue",
        "run",
        "message",
        "cancelling",
        "interrupts",
        "asked",
        "answers",
        "state",
    )
    return {name: getattr(outline, name) for name in names}


@lawful
@given(yielded)
def test_the_events_of_a_run_are_in_a_legal_order(items: list[Any]) -> None:
    events = admit(RunSequence("run_1"), items)
    start = e.RunStarted("t", "run_1", e.AGUI_VERSION)
    whole = [start, *events, e.RunFinished("t", "run_1")]
    verifier = verify(msgspec.to_builtins(event) for event in whole)
    assert verifier.ended == "RUN_FINISHED"


@lawful
@given(yielded)
def test_an_event_that_is_refused_changes_nothing(items: list[Any]) -> None:
    """An adapter may continue after a refused event."""
    sequence, events = RunSequence("run_1"), []
    for item in items:
        if not isinstance(item, str):
            try:
                events += sequence.admit(item)
            except InvalidEvent:
                continue
    events += sequence.close()
    assert sequence.close() == []
    whole = [e.RunStarted("t", "run_1"), *events, TERMINALS[0]]
    verify(msgspec.to_builtins(event) for event in whole)


@lawful
@given(logs())
def test_merging_keeps_the_fold_of_a_log(records: list[Record]) -> None:
    merged = merge(records)
    assert folded(merged) == folded(records)
    assert merge(merged) == merged
    assert {record.seq for record in merged} <= {record.seq for record in records}
    for run, events in runs_of(merged).items():
        assert verify(events).terminals <= 1, run


@lawful
@given(logs(), st.data())
def test_merging_a_log_in_pieces_keeps_its_fold(records: list[Record], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(records)))
    assert folded(merge(records[:cut]) + merge(records[cut:])) == folded(records)


@lawful
@given(logs())
def test_compaction_keeps_the_outline_and_adds_no_position(records: list[Record]) -> None:
    kept = merge(records)
    assert outlined(kept) == outlined(records)
    places = {(record.seq, record.tag) for record in records}
    assert {(record.seq, record.tag) for record in kept} <= places
    if records:
        assert kept[-1].seq == records[-1].seq


@lawful
@given(logs())
def test_a_reader_at_a_remaining_position_continues_as_before_compaction(
    records: list[Record],
) -> None:
    kept = merge(records)
    whole = folded(records)
    for index, place in enumerate(kept, start=1):
        seen = [record for record in records if record.seq <= place.seq]
        assert folded([*seen, *kept[index:]]) == whole


@lawful
@given(logs(), st.data())
def test_folding_a_log_in_pieces_equals_folding_it_whole(
    records: list[Record], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(records)))
    fold = Fold().apply_all(records[:cut])
    msgspec.to_builtins(fold.messages)  # reading the messages in between changes nothing
    fold.apply_all(records[cut:])
    assert msgspec.to_builtins([fold.messages, fold.state, fold.title]) == folded(records)


@lawful
@given(logs(), st.data())
def test_a_snapshot_replaces_the_events_before_it(
    records: list[Record], data: st.DataObject
) -> None:
    """A reader that begins with a snapshot ends with the same fold as one that read everything."""
    ends = [at for at, one in enumerate(records, 1) if event_type(one.data) in ENDS]
    cut = data.draw(st.sampled_from([0, *ends]))
    fold = Fold()
    fold.apply(e.MessagesSnapshot(Fold().apply_all(records[:cut]).messages))
    fold.apply_all(records[cut:])
    assert msgspec.to_builtins(fold.messages) == folded(records)[0]


@lawful
@given(logs())
def test_an_outline_equals_the_outline_of_the_fold(records: list[Record]) -> None:
    fold = Fold().apply_all(records)
    for name, value in outlined(records).items():
        assert getattr(fold.outline, name) == value


@lawful
@given(logs())
def test_every_record_decodes_to_the_event_that_was_encoded(records: list[Record]) -> None:
    check_tags(records)
    for record in records:
        body = decode_record(record.data)
        assert encode_event(body.event, run=body.run) == record.data
        assert event_type(record.data) == body.event.__struct_config__.tag
        (frame,) = decode_server_message(event_frames("e", [record])[0])
        assert frame is not None and not hasattr(frame, "retryable")


@lawful
@given(logs(), st.data())
def test_the_oracle_accepts_deltas_merged_in_any_way(
    records: list[Record], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(records)), max_size=5)))
    frames = [_welcome(records)]
    for start, end in zip([0, *cuts], [*cuts, len(records)], strict=True):
        merged = merge(records[start:end])
        frames += [msgspec.json.decode(event_frames("e", [record])[0]) for record in merged]
    check_client("e", records, frames, complete=True)


@lawful
@given(logs(), st.data())
def test_the_oracle_detects_every_kind_of_wrong_frame(
    records: list[Record], data: st.DataObject
) -> None:
    frames = [msgspec.json.decode(event_frames("e", [record])[0]) for record in records]
    at = data.draw(st.integers(0, len(frames) - 1))
    match data.draw(st.sampled_from(["lose", "double", "swap", "change", "move"])):
        case "lose":
            del frames[at]
        case "double":
            frames.insert(at, frames[at])
        case "swap" if at and frames[at] != frames[at - 1]:
            frames[at - 1 : at + 1] = frames[at], frames[at - 1]
        case "change":
            frames[at] = frames[at] | {"event": {"type": "CUSTOM", "name": "x", "value": "y"}}
        case _:
            other = f"e.{records[at].seq}.0123456789abcdef"
            frames[at] = frames[at] | {"id": other}
    with pytest.raises(AssertionError):
        check_client("e", records, [_welcome(records), *frames], complete=True)


def _welcome(records: list[Record]) -> dict[str, Any]:
    head = records[-1]
    return {"type": "welcome", "resume": "new", "head": f"e.{head.seq}.{head.tag}"}


@lawful
@given(st.lists(st.binary(max_size=20), max_size=10), st.data())
def test_two_logs_have_the_same_tag_only_with_the_same_past(
    datas: list[bytes], data: st.DataObject
) -> None:
    records = extend(Position("e", 0, GENESIS), datas)
    check_tags(records)
    if records:
        at = data.draw(st.integers(0, len(records) - 1))
        changed = datas[:at] + [datas[at] + b"x"] + datas[at + 1 :]
        other = extend(Position("e", 0, GENESIS), changed)
        assert all(one.tag != two.tag for one, two in zip(records[at:], other[at:], strict=True))
    assert chain("a", 1, b"x") != chain("a", 11, b"x")


@lawful
@given(st.lists(st.binary(max_size=20), max_size=10))
def test_a_store_may_chain_events_one_by_one_or_pass_an_iterator(datas: list[bytes]) -> None:
    records = extend(Position("e", 0, GENESIS), datas)
    assert extend(Position("e", 0, GENESIS), iter(datas)) == records
    tag = GENESIS
    for record in records:
        tag = chain(tag, record.seq, record.data)
        assert tag == record.tag


def test_the_verifier_refuses_what_ag_ui_refuses() -> None:
    """One example of each order of events that AG-UI refuses."""
    start, end = {"type": "RUN_STARTED"}, {"type": "RUN_FINISHED"}
    text = {"type": "TEXT_MESSAGE_START", "messageId": "a"}
    illegal: list[list[dict[str, Any]]] = [
        [end],
        [text],
        [start, start],
        [start, end, end],
        [start, end, text],
        [start, text, end],
        [start, text, text],
        [start, {"type": "TEXT_MESSAGE_CONTENT", "messageId": "a", "delta": "x"}],
        [start, {"type": "STEP_FINISHED", "stepName": "a"}],
        [start, {"type": "TEXT_MESSAGE_CHUNK", "delta": "x"}],
        [start, {"type": "RUN_ERROR"}, {"type": "RUN_ERROR"}],
        [start, {"type": "message.accepted"}],
    ]
    for events in illegal:
        with pytest.raises(Illegal):
            verify(events)


def test_a_fold_may_begin_where_no_run_is_active() -> None:
    message = m.UserMessage("m1", "hi")
    events: list[tuple[e.Event, str | None]] = [
        (e.NoticePosted("n", "info"), None),
        (e.RunStarted("t", "r", None, None, m.RunAgentInput("t", "r", [message])), "r"),
        (e.TextMessageStart("a"), "r"),
        (e.TextMessageContent(message_id="a", delta="x"), "r"),
    ]
    datas = [encode_event(event, run=run) for event, run in events]
    records = extend(Position("e", 0, GENESIS), datas)
    whole = Fold().apply_all(records)
    part = Fold().apply_all(records[1:])
    assert part.messages == whole.messages
    assert part.outline.run == whole.outline.run == "r"

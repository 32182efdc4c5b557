"""Fuzzing of all decoders: any input is decoded, or refused with BadRequest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentws.agents.commands import parse_command, unescape
from agentws.errors import BadRequest, Internal
from agentws.protocol.codec import decode_record, event_type
from agentws.protocol.frame_ids import frame_id
from agentws.protocol.frames import AnyClientFrame, decode_client_frame, encode_frame
from agentws.protocol.jsonpatch import apply_patch
from agentws.protocol.position import GENESIS, Position, parse_position, read_position
from agentws.protocol.strict import MAX_DEPTH, MAX_NODES, check_value
from agentws.protocol.wires.simple import SimpleMessage, parse_simple

garbage = settings(max_examples=200, deadline=None, derandomize=True)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
names = st.sampled_from(
    ["type", "id", "content", "metadata", "overlap", "agent", "run", "message", "patch", "payload"]
)
types = st.sampled_from(
    ["send", "cancel", "withdraw", "answer", "tool_result", "state", "command", "ping", "auth", "x"]
)
objects = st.dictionaries(names, values, max_size=6)
nearly = st.builds(lambda kind, rest: {**rest, "type": kind}, types, objects)


def dumped(value: Any) -> str:
    return json.dumps(value)


messages = st.one_of(
    st.text(max_size=30),
    st.binary(max_size=30).map(lambda data: data.decode("latin-1")),
    nearly.map(dumped),
    st.tuples(nearly.map(dumped), st.integers(0, 60)).map(lambda one: one[0][: one[1]]),
    st.tuples(nearly.map(dumped), st.integers(0, 60), st.text(max_size=2)).map(
        lambda one: one[0][: one[1]] + one[2] + one[0][one[1] :]
    ),
)


@garbage
@given(messages)
def test_any_text_is_a_native_frame_or_a_bad_request(text: str) -> None:
    try:
        frame = decode_client_frame(text)
    except BadRequest as error:
        assert error.message and error.expected
        found = frame_id(text)
        assert found is None or len(found) <= 128
    else:
        again: AnyClientFrame = decode_client_frame(encode_frame(frame))
        assert again == frame


@pytest.mark.parametrize(
    "text",
    [
        r'{"type":"send","id":"m-1","content":"cut \ud83d"}',
        r'{"content":"\uDC00 and \ud83d\ude00 \\ud83d","id":"m-1","type":"send"}',
        '{"type":"send","id":"m-1","content":"cut \ud83d"}',
    ],
)
def test_the_id_of_a_frame_with_a_lone_surrogate_can_be_read(text: str) -> None:
    with pytest.raises(BadRequest):
        decode_client_frame(text)
    assert frame_id(text) == "m-1"


@garbage
@given(messages)
def test_any_text_is_a_simple_message_or_a_bad_request(text: str) -> None:
    try:
        message = parse_simple(text)
    except BadRequest as error:
        assert error.message and error.expected
    else:
        assert isinstance(message, SimpleMessage)
        assert "\x00" not in message.content
        json.dumps(message.metadata)


@garbage
@given(st.text(max_size=40))
def test_any_text_is_a_position_or_a_bad_request(text: str) -> None:
    try:
        position = parse_position(text)
    except BadRequest as error:
        assert error.expected
    else:
        assert str(position) == text


@garbage
@given(
    st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True),
    st.integers(1, 10**16 - 1),
    st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
)
def test_a_position_round_trips_and_no_part_of_it_is_another_position(
    epoch: str, seq: int, tag: str
) -> None:
    for position in (Position(epoch, seq, tag), Position(epoch, 0, GENESIS)):
        text = str(position)
        assert parse_position(text) == position
        assert not any(read_position(text[:end]) for end in range(len(text)))


@pytest.mark.parametrize(
    "text",
    ["", "e", "e.1", "e.1.", "e.01.", "e.-1.", "e.1.ABCDEF0123456789", "e.1.0123456789abcde"]
    + ["e.1.0123456789abcdef0", "é.1.", "e.1\n.", "e.1.\n", " e.1.", "e.1e3.", "e.١.", "a.b.c.d"]
    + [f"{'e' * 33}.0.", f"e.{10**16}.0123456789abcdef", "e.1.0123456789abcdef\x00"]
    + ["e.0.0123456789abcdef"],
)
def test_a_malformed_position_is_refused(text: str) -> None:
    assert read_position(text) is None
    with pytest.raises(BadRequest):
        parse_position(text)


operations = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]) | values,
        "path": st.sampled_from(["", "/", "/a", "/a/0", "/a/-", "/~0~1", "a", "/a/01"]) | values,
        "from": st.sampled_from(["", "/a", "/b"]) | values,
        "value": values,
    },
)


@garbage
@given(values, st.lists(operations, max_size=4))
def test_any_patch_is_applied_or_a_bad_request(document: Any, patch: list[dict[str, Any]]) -> None:
    before = repr(document)
    try:
        apply_patch(document, patch)
    except BadRequest as error:
        assert error.message
    assert repr(document) == before


@garbage
@given(st.text(max_size=20))
def test_any_text_is_a_command_or_a_bad_request(text: str) -> None:
    typed = parse_command(text)
    if typed is not None:
        assert text.strip() == "ping" or text.startswith("/")
        assert not unescape(text).startswith("//") or text.startswith("///")


def nested(levels: int) -> Any:
    value: Any = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"k": value}
    return value


def test_values_beyond_the_limits_of_depth_and_size_are_refused() -> None:
    check_value(nested(MAX_DEPTH), "value")
    for bad in (nested(MAX_DEPTH + 1), nested(100_000), [0] * MAX_NODES, float("nan"), ["\x00"]):
        with pytest.raises(BadRequest):
            check_value(bad, "value")


@garbage
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_bytes_that_are_no_record_are_an_error_of_the_log(before: bytes, after: bytes) -> None:
    """Somebody else has written to the store."""
    for data in (before, before + b'{"event":{"type":"' + after, b'{"event":{"type":"a"}}' + after):
        for read in (decode_record, event_type):
            try:
                read(data)
            except Internal as error:
                assert "can't be read" in str(error)

"""Long texts are cut into events of limited size; joined, the pieces are the text."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentws.protocol import events as e
from agentws.protocol.codec import Record, decode_record, encode_event, event_frames, extend
from agentws.protocol.cutting import boundary, word_boundary
from agentws.protocol.merge import LARGEST, LARGEST_HEAD, cut_delta, merge, split_delta
from agentws.protocol.position import GENESIS, Position
from agentws.protocol.sizes import FRAME, TEXT

STRANGE = [
    "a",
    "\n",
    "\r\n",
    '"',
    "\\",
    "\\n",
    "\x01",
    "é",
    "e\u0301",
    "漢",
    "\U0001f600",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f44d\U0001f3fd",
    "\U0001f1f3\U0001f1f4",
    "\u2028",
    " ",
]
"""Grapheme clusters, and what makes each of them hard to cut."""

texts = st.lists(st.sampled_from(STRANGE), min_size=1, max_size=60)


def encoded(text: str) -> bytes:
    return msgspec.json.encode(text)[1:-1]


def pieces_of(text: str, size: int) -> list[str]:
    data, start, pieces = encoded(text), 0, []
    while start < len(data):
        end = boundary(data, start, start + size)
        assert start < end <= max(start + size, start + 1)
        pieces.append(msgspec.json.decode(b'"%b"' % data[start:end]))
        start = end
    return pieces


@given(characters=texts, size=st.integers(8, 60))
def test_the_pieces_join_to_the_text_and_each_is_valid_text(
    characters: list[str], size: int
) -> None:
    text = "".join(characters)
    pieces = pieces_of(text, size)
    assert "".join(pieces) == text
    assert all(len(encoded(piece)) <= size for piece in pieces)


@pytest.mark.parametrize("character", [one for one in STRANGE if one != "\\n"], ids=ascii)
@pytest.mark.parametrize("before", range(40))
def test_a_grapheme_cluster_is_not_cut(character: str, before: int) -> None:
    text = "-" * before + (character + "-") * 20
    for piece in pieces_of(text, 40):
        assert piece.replace(character, "").strip("-") == ""


def test_a_row_of_flags_is_cut_between_flags() -> None:
    flag = "\U0001f1f3\U0001f1f4"
    for size in range(8, 60):
        for piece in pieces_of(flag * 30, size):
            assert len(piece) % 2 == 0


def test_unlimited_stacked_accents_are_cut_nevertheless() -> None:
    text = "a" + "\u0301" * 10_000
    pieces = pieces_of(text, 1000)
    assert "".join(pieces) == text
    assert len(pieces) < 40


def test_a_text_of_backslashes_is_not_cut_inside_an_escape() -> None:
    text = "\\" * 10_001
    assert "".join(pieces_of(text, 999)) == text


def test_a_text_of_backslashes_is_cut_in_linear_time() -> None:
    """Counting them one by one once blocked the event loop for seconds."""
    data = encoded("\\" * 4_000_000)
    start, begun = 0, time.process_time()
    while start < len(data):
        start = boundary(data, start, start + 60_001)
    assert time.process_time() - begun < 1.5


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("one two three\n\nfour five", "one two three\n\n"),
        ("one two three\nfour five six", "one two three\n"),
        ("one two three four five six", "one two three "),
        ("onetwothreefourfivesix", "onetwothreefourfiv"),
        ("one two C:\\\\new-or-not", "one two C:\\\\new-"),
        ("一二三四五六七八九十", "一二三四五六"),
    ],
)
def test_a_text_is_cut_after_a_paragraph_a_line_or_a_word(text: str, piece: str) -> None:
    data = encoded(text)
    end = word_boundary(data, 0, 18)
    assert msgspec.json.decode(b'"%b"' % data[:end]) == piece


DELTAS = [
    e.TextMessageContent(message_id="msg", delta=""),
    e.ReasoningMessageContent(message_id="msg", delta=""),
    e.ToolCallArgs(tool_call_id="call", delta="", metadata={"delta": ',"delta":"'}),
]


def records(datas: list[bytes]) -> list[Record]:
    return extend(Position("e", 0, GENESIS), datas)


@pytest.mark.parametrize("event", DELTAS, ids=lambda one: type(one).__name__)
@given(characters=texts, times=st.integers(4000, 9000))
def test_the_pieces_of_a_large_delta_are_deltas_of_the_same_type(
    event: Any, characters: list[str], times: int
) -> None:
    text = "".join(characters) * (times // len(characters))
    whole = encode_event(msgspec.structs.replace(event, delta=text), run="run_1")
    head, inside = split_delta(whole)
    assert head is not None
    made = records(cut_delta(head, inside))
    bodies = [decode_record(record.data) for record in made]
    said = [getattr(body.event, "delta", None) for body in bodies]
    assert "".join(map(str, said)) == text
    assert {(body.run, type(body.event)) for body in bodies} == {("run_1", type(event))}
    assert all(len(record.data) <= LARGEST for record in made)
    # Merging does not exceed the limit again.
    again = merge(made)
    assert all(len(record.data) <= LARGEST for record in again)
    assert b"".join(split_delta(record.data)[1] for record in again) == inside


@given(sizes=st.lists(st.integers(1, 30_000), min_size=1, max_size=30))
def test_merged_deltas_stay_below_the_size_limit(sizes: list[int]) -> None:
    made = records(
        [
            encode_event(e.TextMessageContent(message_id="m", delta="x" * size), run="run_1")
            for size in sizes
        ]
    )
    merged = merge(made)
    assert all(len(record.data) <= LARGEST for record in merged)
    assert sum(len(split_delta(record.data)[1]) for record in merged) == sum(sizes)
    assert merged[-1].seq == made[-1].seq
    # No two neighbours would fit into one event: everything that can be merged is.
    for one, other in zip(merged, merged[1:], strict=False):
        assert len(one.data) + len(other.data) > LARGEST


def test_the_largest_event_frame_with_text_has_at_most_64_kib() -> None:
    text = encoded("x" * 200_000)
    head, _ = split_delta(encode_event(DELTAS[0], run="run_" + "r" * 16))
    assert head is not None
    data = cut_delta(head, text)[0]
    farthest = Position("e" * 32, 10**16 - 1, "f" * 16)
    (frame,) = event_frames(farthest.epoch, [Record(farthest.seq, farthest.tag, data)])
    assert TEXT - FRAME < len(frame) <= TEXT
    assert LARGEST_HEAD < LARGEST

"""The golden tests: every type of the wire encodes to exactly these bytes."""

from __future__ import annotations

import typing

import msgspec
import pytest

from agentws.errors import Draining
from agentws.protocol import frames as f
from agentws.protocol.codec import Record, decode_event, entry, event_frames, join_frames
from agentws.protocol.events import AnyEvent, Custom
from agentws.transports.connection import bye

from .golden import CLIENT, EVENTS, SERVER


def types_of(union: object) -> set[str]:
    return {one.__struct_config__.tag for one in typing.get_args(union)}


def types_in(texts: list[str]) -> set[str]:
    return {msgspec.json.decode(text)["type"] for text in texts}


def test_the_golden_texts_cover_every_type_of_the_wire() -> None:
    assert types_in(CLIENT) == types_of(f.AnyClientFrame)
    assert types_in(SERVER) == types_of(f.ControlFrame) - {"bye"}
    assert types_in(EVENTS) == types_of(AnyEvent)


@pytest.mark.parametrize("text", CLIENT)
def test_a_client_frame_decodes_and_encodes_to_the_golden_text(text: str) -> None:
    assert msgspec.json.decode(f.encode_frame(f.decode_client_frame(text))) == msgspec.json.decode(
        text
    )


@pytest.mark.parametrize("text", SERVER)
def test_a_server_frame_decodes_and_encodes_to_the_golden_text(text: str) -> None:
    (frame,) = f.decode_server_message(text)
    assert frame is not None and not isinstance(frame, f.EventFrame)
    assert msgspec.json.decode(f.encode_frame(frame)) == msgspec.json.decode(text)


def test_a_bye_frame_has_the_code_and_retry_after_of_its_error() -> None:
    (frame,) = f.decode_server_message(f.encode_frame(bye(Draining(retry_after=1.0), code=1012)))
    assert isinstance(frame, f.Bye)
    assert (frame.code, frame.reason, frame.retryable) == (1012, "draining", True)
    assert frame.retry_after == 1.0


@pytest.mark.parametrize("text", EVENTS)
def test_an_event_decodes_and_encodes_to_the_golden_text(text: str) -> None:
    event = decode_event(text.encode())
    assert msgspec.json.encode(event).decode() == text


@pytest.mark.parametrize("text", EVENTS)
def test_an_event_frame_is_the_record_with_its_position(text: str) -> None:
    record = Record(7, "0123456789abcdef", b'{"run":"run_1","event":%b}' % text.encode())
    data = event_frames("k3v9", [record])[0]
    whole = '{"id":"k3v9.7.0123456789abcdef","run":"run_1","event":' + text + "}"
    assert data.decode() == whole
    (frame,) = f.decode_server_message(data)
    assert isinstance(frame, f.EventFrame)
    assert (frame.id, frame.run) == ("k3v9.7.0123456789abcdef", "run_1")
    assert bytes(frame.event).decode() == text


def test_several_frames_are_sent_as_one_message() -> None:
    pong = f.encode_frame(f.Pong())
    assert join_frames([pong]) == b'{"type":"pong"}'
    assert join_frames([pong, pong]) == b'[{"type":"pong"},{"type":"pong"}]'
    assert f.decode_server_message(join_frames([pong, pong])) == [f.Pong(), f.Pong()]


def test_a_frame_of_an_unknown_type_is_skipped() -> None:
    assert f.decode_server_message('[{"type":"later"},{"type":"pong"}]') == [None, f.Pong()]


def test_an_optional_member_that_is_none_is_left_out() -> None:
    for text in [*CLIENT, *SERVER]:
        decoded = msgspec.json.decode(text)
        assert None not in decoded.values()


def test_an_entry_does_not_change_when_its_event_does() -> None:
    value = {"n": 1}
    made = entry(Custom("state", value))
    value["n"] = 2
    assert b'"n":1' in made.data

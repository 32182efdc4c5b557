"""The wire, literally."""

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


def test_every_type_is_here() -> None:
    assert types_in(CLIENT) == types_of(f.AnyClientFrame)
    assert types_in(SERVER) == types_of(f.ControlFrame) - {"bye"}
    assert types_in(EVENTS) == types_of(AnyEvent)


@pytest.mark.parametrize("text", CLIENT)
def test_a_client_frame(text: str) -> None:
    assert msgspec.json.decode(f.encode_frame(f.decode_client_frame(text))) == msgspec.json.decode(
        text
    )


@pytest.mark.parametrize("text", SERVER)
def test_a_server_frame(text: str) -> None:
    (frame,) = f.decode_server_message(text)
    assert frame is not None and not isinstance(frame, f.EventFrame)
    assert msgspec.json.decode(f.encode_frame(frame)) == msgspec.json.decode(text)


def test_bye() -> None:
    (frame,) = f.decode_server_message(f.encode_frame(bye(Draining(retry_after=1.0), code=1012)))
    assert isinstance(frame, f.Bye)
    assert (frame.code, frame.reason, frame.retryable) == (1012, "draining", True)
    assert frame.retry_after == 1.0


@pytest.mark.parametrize("text", EVENTS)
def test_an_event(text: str) -> None:
    event = decode_event(text.encode())
    assert msgspec.json.encode(event).decode() == text


@pytest.mark.parametrize("text", EVENTS)
def test_an_event_frame(text: str) -> None:
    record = Record(7, "0123456789abcdef", b'{"run":"run_1","event":%b}' % text.encode())
    data = event_frames("k3v9", [record])[0]
    whole = '{"id":"k3v9.7.0123456789abcdef","run":"run_1","event":' + text + "}"
    assert data.decode() == whole
    (frame,) = f.decode_server_message(data)
    assert isinstance(frame, f.EventFrame)
    assert (frame.id, frame.run) == ("k3v9.7.0123456789abcdef", "run_1")
    assert bytes(frame.event).decode() == text


def test_several_frames_are_one_message() -> None:
    pong = f.encode_frame(f.Pong())
    assert join_frames([pong]) == b'{"type":"pong"}'
    assert join_frames([pong, pong]) == b'[{"type":"pong"},{"type":"pong"}]'
    assert f.decode_server_message(join_frames([pong, pong])) == [f.Pong(), f.Pong()]


def test_a_type_that_is_not_known_here_is_skipped() -> None:
    assert f.decode_server_message('[{"type":"later"},{"type":"pong"}]') == [None, f.Pong()]


def test_absent_is_absent() -> None:
    for text in [*CLIENT, *SERVER]:
        decoded = msgspec.json.decode(text)
        assert None not in decoded.values()


def test_what_is_encoded_does_not_change_any_more() -> None:
    value = {"n": 1}
    made = entry(Custom("state", value))
    value["n"] = 2
    assert b'"n":1' in made.data

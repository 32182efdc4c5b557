"""The frame parser: however the bytes are split, the messages are the same."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentws.server import framing
from agentws.server.framing import Close, CloseCode, FramingError, MessageParser

Item = tuple[int, str | bytes | Close]


def client_frame(
    opcode: int, payload: bytes, *, fin: bool = True, mask: bytes | None = b"\x01\x80\xff\x07"
) -> bytes:
    head = bytes([(0x80 if fin else 0) | opcode])
    size = len(payload)
    bit = 0x80 if mask else 0
    if size <= 125:
        head += bytes([bit | size])
    elif size < 65_536:
        head += struct.pack("!BH", bit | 126, size)
    else:
        head += struct.pack("!BQ", bit | 127, size)
    if not mask:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def parse(chunks: list[bytes], *, max_size: int = 1 << 20) -> list[Item]:
    parser = MessageParser(max_size)
    items: list[Item] = []
    for chunk in chunks:
        parser.feed(chunk)
        while (item := parser.next()) is not None:
            if item is framing.FRAGMENT:
                continue
            items.append(item)
            if item[0] == framing.CLOSE:
                return items
    return items


def refusal(data: bytes, *, max_size: int = 1 << 20) -> tuple[int, str]:
    with pytest.raises(FramingError) as caught:
        parse([data], max_size=max_size)
    return caught.value.code, caught.value.reason


masks = st.binary(min_size=4, max_size=4)
controls = st.tuples(st.sampled_from([framing.PING, framing.PONG]), st.binary(max_size=125))
texts = st.tuples(st.just(framing.TEXT), st.text(max_size=300).map(str.encode))
binaries = st.tuples(st.just(framing.BINARY), st.binary(max_size=300))


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[Item]]:
    """Valid bytes of a client, and the messages in them."""
    data, said = b"", list[Item]()
    for opcode, payload in draw(st.lists(st.one_of(texts, binaries, controls), max_size=8)):
        if opcode >= framing.CLOSE:
            data += client_frame(opcode, payload, mask=draw(masks))
            said.append((opcode, payload))
            continue
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        bounds = [0, *cuts, len(payload)]
        for number, (start, end) in enumerate(zip(bounds, bounds[1:], strict=False)):
            if number and draw(st.booleans()):
                data += client_frame(framing.PING, b"between", mask=draw(masks))
                said.append((framing.PING, b"between"))
            data += client_frame(
                opcode if number == 0 else framing.CONTINUATION,
                payload[start:end],
                fin=end is bounds[-1] and number == len(bounds) - 2,
                mask=draw(masks),
            )
        said.append((opcode, payload.decode() if opcode == framing.TEXT else payload))
    return data, said


@given(streams(), st.data())
def test_the_messages_do_not_depend_on_how_the_bytes_are_split(
    stream: tuple[bytes, list[Item]], data: st.DataObject
) -> None:
    sent, said = stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=10)))
    bounds = [0, *cuts, len(sent)]
    pieces = [sent[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
    assert parse(pieces) == said
    assert parse([sent[i : i + 1] for i in range(len(sent))]) == said


@given(st.binary(max_size=400))
def test_garbage_raises_nothing_but_a_framing_error(garbage: bytes) -> None:
    whole = outcome([garbage])
    assert whole == outcome([garbage[i : i + 1] for i in range(len(garbage))])
    assert not isinstance(whole[-1], int) or whole[-1] in (1002, 1007, 1009)


def outcome(pieces: list[bytes]) -> list[object]:
    parser, seen = MessageParser(200), list[object]([None])
    try:
        for piece in pieces:
            parser.feed(piece)
            while (item := parser.next()) is not None:
                seen.append(item)
                if item[0] == framing.CLOSE:
                    return seen
    except FramingError as error:
        seen.append(error.code)
    return seen


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (client_frame(framing.TEXT, b"hi", mask=None), 1002, "frame not masked"),
        (client_frame(0x3, b""), 1002, "unknown opcode"),
        (client_frame(0xB, b""), 1002, "unknown opcode"),
        (client_frame(framing.TEXT | 0x40, b"hi"), 1002, "reserved bits set"),
        (client_frame(framing.TEXT | 0x10, b"hi"), 1002, "reserved bits set"),
        (client_frame(framing.PING, b"", fin=False), 1002, "fragmented control frame"),
        (client_frame(framing.PING, b"x" * 126), 1002, "control frame too long"),
        (client_frame(framing.CONTINUATION, b"x"), 1002, "continuation without a message"),
        (
            client_frame(framing.TEXT, b"a", fin=False) + client_frame(framing.TEXT, b"b"),
            1002,
            "message inside a fragmented message",
        ),
        (client_frame(framing.TEXT, b"\xff"), 1007, "invalid UTF-8"),
        (client_frame(framing.TEXT, b"\xed\xa0\x80"), 1007, "invalid UTF-8"),
        (client_frame(framing.CLOSE, b"\x03"), 1002, "truncated close code"),
        (client_frame(framing.CLOSE, struct.pack("!H", 999)), 1002, "invalid close code"),
        (client_frame(framing.CLOSE, struct.pack("!H", 1005)), 1002, "invalid close code"),
        (client_frame(framing.CLOSE, struct.pack("!H", 5000)), 1002, "invalid close code"),
        (
            client_frame(framing.CLOSE, struct.pack("!H", 1000) + b"\xff"),
            1007,
            "invalid UTF-8 in close reason",
        ),
        (b"\x82\xff" + struct.pack("!Q", 1 << 62), 1009, "message too big"),
        (b"\x82\xff" + struct.pack("!Q", (1 << 64) - 1), 1009, "message too big"),
    ],
)
def test_a_protocol_violation_is_refused_with_its_close_code(
    data: bytes, code: int, reason: str
) -> None:
    assert refusal(data) == (code, reason)


def test_the_message_size_limit_counts_all_fragments() -> None:
    first = client_frame(framing.BINARY, b"x" * 60, fin=False)
    assert parse([first + client_frame(framing.CONTINUATION, b"y" * 40)], max_size=100)
    assert refusal(first + client_frame(framing.CONTINUATION, b"y" * 41), max_size=100)[0] == 1009


def test_the_size_limit_starts_again_after_a_fragmented_message() -> None:
    fragmented = client_frame(framing.BINARY, b"x" * 60, fin=False)
    fragmented += client_frame(framing.CONTINUATION, b"y" * 40)
    whole = client_frame(framing.BINARY, b"z" * 100)
    assert [len(payload) for _, payload in parse([fragmented + whole] * 2, max_size=100)] == [
        100
    ] * 4


def test_a_control_frame_does_not_count_towards_the_message_size() -> None:
    sent = client_frame(framing.BINARY, b"x" * 100, fin=False) + client_frame(
        framing.PING, b"p" * 99
    )
    assert parse([sent], max_size=100) == [(framing.PING, b"p" * 99)]


def test_a_close_frame_is_parsed_with_and_without_a_code() -> None:
    assert parse([client_frame(framing.CLOSE, b"")]) == [(framing.CLOSE, Close(1005, ""))]
    payload = struct.pack("!H", 4001) + "später".encode()
    assert parse([client_frame(framing.CLOSE, payload)]) == [(framing.CLOSE, Close(4001, "später"))]


@given(st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536, 70_000]))
def test_a_server_frame_uses_the_shortest_length_encoding(size: int) -> None:
    frame = framing.frame_binary(b"x" * size)
    header = 2 if size <= 125 else 4 if size < 65_536 else 10
    assert frame[0] == 0x82 and len(frame) == header + size and frame[1] & 0x80 == 0


def test_the_builders_of_server_frames() -> None:
    assert framing.frame_text("hé".encode()) == b"\x81\x03h\xc3\xa9"
    assert framing.frame_ping(b"p") == b"\x89\x01p"
    assert framing.frame_pong(b"p") == b"\x8a\x01p"
    assert framing.frame_close(CloseCode.NO_STATUS, "unsent") == b"\x88\x00"
    assert framing.frame_close(1000, "ok") == b"\x88\x04\x03\xe8ok"


@given(st.text(max_size=200))
def test_a_long_close_reason_is_cut_between_characters(reason: str) -> None:
    frame = framing.frame_close(4000, reason)
    assert len(frame) <= 127
    assert reason.encode("utf-8", "replace").decode().startswith(frame[4:].decode())

"""The head of a request is bounded, and an ambiguous one is refused, by both HTTP parsers."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from agentws.server import ServerLimits
from agentws.server.heads import BadHead, HeadCount, check_framing

START = b"POST /http HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def connected(server: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def answer(client: socket.socket) -> bytes:
    """All that the server sends until it closes; a reset ends it too."""
    read = b""
    try:
        while piece := client.recv(65536):
            read += piece
    except ConnectionError:
        pass
    return read


def status(data: bytes) -> list[int]:
    """The statuses of the responses in ``data``."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d+) ", data)]


def send_for_ever(client: socket.socket, piece: bytes, *, at_most: int) -> int:
    """Sends until the server does not let it, or up to ``at_most`` bytes; returns how many."""
    sent = 0
    try:
        while sent < at_most:
            sent += client.send(piece)
    except OSError:
        pass
    return sent


@pytest.mark.parametrize(
    ("begin", "expected"),
    [
        pytest.param(b"GET /", 414, id="request line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX-Big: ", 431, id="header value"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n", 431, id="header name"),
    ],
)
def test_an_endless_head_is_refused_before_it_is_read(
    parsing: Any, begin: bytes, expected: int
) -> None:
    with connected(parsing) as client:
        client.sendall(begin)
        # 60 MB were read into memory once.
        sent = send_for_ever(client, b"a" * 65536, at_most=60_000_000)
        assert sent < 8_000_000
        assert status(answer(client)) in ([expected], [431], [])
    with connected(parsing) as client:
        client.sendall(begin + b"a" * 45_000)
        assert status(answer(client)) in ([expected], [431])


def test_a_head_that_comes_in_one_piece_is_bounded_too(parsing: Any) -> None:
    with connected(parsing) as client:
        client.sendall(START + b"X-Big: " + b"a" * 33_000 + b"\r\nContent-Length: 0\r\n\r\n")
        assert status(answer(client)) == [431]
    with connected(parsing) as client:
        client.sendall(b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status(answer(client)) == [414]


def test_many_headers_are_refused(parsing: Any) -> None:
    with connected(parsing) as client:
        client.sendall(START + b"".join(b"X-%d: a\r\n" % one for one in range(200)) + b"\r\n")
        assert status(answer(client)) == [431]


def test_trailers_and_chunk_extensions_are_bounded(parsing: Any) -> None:
    with connected(parsing) as client:
        client.sendall(START + CHUNKED + b"\r\n1\r\na\r\n0\r\n")
        assert (
            send_for_ever(client, b"X-Trailer: aaaaaaa\r\n" * 1000, at_most=60_000_000) < 8_000_000
        )
    with connected(parsing) as client:
        client.sendall(START + CHUNKED + b"\r\n1;")
        assert send_for_ever(client, b"a" * 65536, at_most=60_000_000) < 8_000_000


def test_a_body_in_very_many_chunks_is_refused_and_one_in_many_is_served(parsing: Any) -> None:
    with connected(parsing) as client:
        client.sendall(START + CHUNKED + b"\r\n")
        assert send_for_ever(client, b"1\r\na\r\n" * 10_000, at_most=60_000_000) < 8_000_000
        assert status(answer(client)) in ([400], [])
    with connected(parsing) as client:
        client.sendall(START + CHUNKED + b"Connection: close\r\n\r\n" + b"1\r\na\r\n" * 1000)
        client.sendall(b"0\r\n\r\n")
        assert answer(client).endswith(b"a" * 1000)


def test_a_head_within_the_limits_is_served(parsing: Any) -> None:
    head = START + b"".join(b"X-%d: %b\r\n" % (one, b"a" * 300) for one in range(90))
    with connected(parsing) as client:
        client.sendall(head + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi")
        assert answer(client).endswith(b"hi")


def test_a_flood_of_requests_without_waiting_is_not_read(parsing: Any) -> None:
    with connected(parsing) as client:
        client.settimeout(0.5)
        client.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        request = b"GET /http HTTP/1.1\r\nHost: x\r\n\r\n"
        assert send_for_ever(client, request * 1000, at_most=60_000_000) < 8_000_000


def test_a_request_ends_with_its_connection_though_others_wait_behind_it(plain: Any) -> None:
    with connected(plain) as client:
        client.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        assert plain.seen()["type"] == "hanging"
        client.sendall(b"GET /http HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"no request\r\n\r\n")
        assert answer(client) == b""
    assert plain.seen()["type"] == "hung up"


def corpus() -> Iterator[Any]:
    """Requests whose end two servers may see at different places (failures F9)."""
    both = b"Content-Length: 6\r\n" + CHUNKED
    heads = {
        "CL.TE": both + b"\r\n0\r\n\r\nG",
        "TE.CL": CHUNKED + b"Content-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n",
        "two lengths": b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "the same length twice": b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "a list of lengths": b"Content-Length: 1, 1\r\n\r\na",
        "a signed length": b"Content-Length: +1\r\n\r\na",
        "a negative length": b"Content-Length: -1\r\n\r\na",
        "a hexadecimal length": b"Content-Length: 0x1\r\n\r\na",
        "an empty length": b"Content-Length:\r\n\r\n",
        "a length in other digits": "Content-Length: \u0661\r\n\r\na".encode(),
        "two codings": CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
        "another coding": b"Transfer-Encoding: identity\r\nContent-Length: 1\r\n\r\na",
        "chunked not last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "gzip before chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "a coding like chunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "a control character in a coding": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        "a control character in a name": b"X\x0bA: a\r\n\r\n",
        "a control character before a name": b"\x0bTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "a space in a name": b"Content Length: 1\r\n\r\na",
        "a folded header": b"X-A: a\r\n b\r\n\r\n",
        "a folded coding": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "no colon": b"Content-Length\r\n\r\n",
        "NUL in a value": b"X-A: a\0b\r\n\r\n",
        "CR in a value": b"X-A: a\rContent-Length: 3\r\n\r\nabc",
        "line feeds alone": b"X-A: a\nContent-Length: 1\n\na",
        "a bad chunk size": CHUNKED + b"\r\nxyz\r\na\r\n0\r\n\r\n",
        "a negative chunk size": CHUNKED + b"\r\n-1\r\na\r\n0\r\n\r\n",
        "a prefixed chunk size": CHUNKED + b"\r\n0x1\r\na\r\n0\r\n\r\n",
        "a huge chunk size": CHUNKED + b"\r\n" + b"f" * 30 + b"\r\na\r\n0\r\n\r\n",
        "a chunk longer than it says": CHUNKED + b"\r\n1\r\nabc\r\n0\r\n\r\n",
    }
    for name, head in heads.items():
        yield pytest.param(START + head, id=name)
    yield pytest.param(
        b"POST /http HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n", id="chunked in HTTP/1.0"
    )
    yield pytest.param(b"POST /http HTTP/1.1 x\r\nHost: x\r\n\r\n", id="a long request line")
    yield pytest.param(b"POST\t/http\tHTTP/1.1\r\nHost: x\r\n\r\n", id="tabs in the request line")
    yield pytest.param(b"POST /http\x0b HTTP/1.1\r\nHost: x\r\n\r\n", id="a control in the target")


FOLLOWING = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("request_", list(corpus()))
def test_an_ambiguous_request_is_refused_and_nothing_after_it_is_served(
    parsing: Any, request_: bytes
) -> None:
    parsing.app.paths.clear()
    with connected(parsing) as client:
        client.sendall(request_ + FOLLOWING)
        read = answer(client)
    # A body that is wrong in the middle is noticed when the request has been begun.
    assert status(read) in ([400], [])
    assert b"smuggled" not in read
    assert "/smuggled" not in parsing.app.paths


@pytest.mark.parametrize(
    "head", [b"Content-Length: 1\r\n", CHUNKED, b"transfer-encoding:Chunked\r\n"]
)
def test_a_request_with_one_length_is_served(parsing: Any, head: bytes) -> None:
    body = b"a" if head.startswith(b"C") else b"1\r\na\r\n0\r\n\r\n"
    with connected(parsing) as client:
        client.sendall(START + head + b"\r\n" + body)
        client.sendall(START + b"Connection: close\r\nContent-Length: 1\r\n\r\nb")
        read = answer(client)
    assert status(read) == [200, 200] and b"a" in read and read.endswith(b"b")


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize("pieces", ["one", "head and body", "bytes"])
@pytest.mark.parametrize("framing", ["length", "chunked", "nothing"])
def test_a_request_that_offers_another_protocol_is_served_with_its_body(
    parsing: Any, framing: str, pieces: str
) -> None:
    parsing.app.paths.clear()
    # As what comes after the head, it would be a request of its own.
    body = b"" if framing == "nothing" else FOLLOWING
    head = START + OFFER + b"Content-Length: %d\r\n\r\n" % len(body)
    sent = body
    if framing == "chunked":
        head = START + OFFER + CHUNKED + b"\r\n"
        sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    last = START + b"Connection: close\r\nContent-Length: 4\r\n\r\nlast"
    with connected(parsing) as client:
        match pieces:
            case "one":
                client.sendall(head + sent + head + sent + last)
            case "head and body":
                client.sendall(head)
                client.sendall(sent + head + sent + last)
            case "bytes":
                for byte in head + sent + head + sent + last:
                    client.sendall(bytes((byte,)))
        read = answer(client)
    assert status(read) == [200, 200, 200] and read.count(body or b"200 OK") >= 2
    assert read.endswith(b"last")
    assert parsing.app.paths == ["/http"] * 3


def test_a_tunnel_is_refused_whatever_else_it_offers(parsing: Any) -> None:
    with connected(parsing) as client:
        request = b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n" + OFFER + b"Content-Length: 1\r\n\r\na"
        client.sendall(request + FOLLOWING)
        read = answer(client)
    assert 200 not in status(read)
    assert "/smuggled" not in parsing.app.paths


def test_a_head_is_counted_in_any_pieces() -> None:
    limits = ServerLimits(max_request_line=10, max_head_size=30, max_headers=2)
    count = HeadCount(limits)
    for _ in range(2):
        count.target(5)
        count.target(5)
        count.header(5, 5)
        count.header(5, 5)
        with pytest.raises(BadHead) as too_many:
            count.header(1, 1)
        assert too_many.value.status == 431
        with pytest.raises(BadHead) as too_long:
            count.target(1)
        assert too_long.value.status == 414
        count.restart()
    count.incomplete(40)
    with pytest.raises(BadHead):
        count.incomplete(41)


def test_a_request_without_a_body_has_no_framing_to_check() -> None:
    check_framing([(b"host", b"x")], "1.1")
    check_framing([(b"content-length", b"12")], "1.0")

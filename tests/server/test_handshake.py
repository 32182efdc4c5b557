from __future__ import annotations

import socket
from typing import Any

import pytest

from agentws.server.handshake import BadHandshake, accept_response, http_response, parse_upgrade

# The example of RFC 6455, section 1.3.
KEY, ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def request(
    *extra: bytes, method: bytes = b"GET", key: bytes = KEY, version: bytes = b"13"
) -> bytes:
    lines = [
        method + b" /ws/chat?session=a HTTP/1.1",
        b"Host: example.org",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: " + key,
        b"Sec-WebSocket-Version: " + version,
        *extra,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def test_the_accept_value_is_that_of_the_example_in_the_rfc() -> None:
    parsed = parse_upgrade(request())
    assert parsed.accept == ACCEPT
    assert parsed.target == b"/ws/chat?session=a"
    assert parsed.headers[0] == (b"host", b"example.org")
    assert parsed.subprotocols == []


def test_subprotocols_of_several_headers_are_joined() -> None:
    parsed = parse_upgrade(request(b"Sec-WebSocket-Protocol: a, b", b"sec-websocket-protocol:c,"))
    assert parsed.subprotocols == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(method=b"POST"), 405),
        (request(version=b"8"), 426),
        (request(key=b"short"), 400),
        (request(key=b"!" * 24), 400),
        (request(b"Sec-WebSocket-Key: " + KEY), 400),
    ],
)
def test_an_invalid_upgrade_request_is_refused_with_its_http_status(
    data: bytes, status: int
) -> None:
    with pytest.raises(BadHandshake) as caught:
        parse_upgrade(data)
    assert caught.value.status == status


@pytest.mark.parametrize("others", [b"Upgrade, keep-alive", b"Upgrade", b"keep-alive"])
def test_an_upgrade_may_be_asked_for_in_one_of_several_connection_headers(
    parsing: Any, others: bytes
) -> None:
    """A list may be sent as several headers, and some proxies add one of their own."""
    asking = request(b"Connection: " + others).replace(b"/ws/chat", b"/echo")
    with socket.create_connection(("127.0.0.1", parsing.port), timeout=10) as client:
        client.sendall(asking)
        assert client.recv(65536).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (request(method=b"POST"), {b"allow": b"GET"}),
        (
            request(version=b"8"),
            {
                b"sec-websocket-version": b"13",
                b"upgrade": b"websocket",
                b"connection": b"close, upgrade",
            },
        ),
    ],
)
def test_a_refusal_says_what_the_server_would_accept(
    plain: Any, data: bytes, expected: dict[bytes, bytes]
) -> None:
    with socket.create_connection(("127.0.0.1", plain.port), timeout=10) as client:
        client.sendall(data)
        response = b""
        while piece := client.recv(65536):
            response += piece
    lines = response.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    headers = {name: value for name, _, value in (line.partition(b": ") for line in lines)}
    assert expected.items() <= headers.items() and len(headers) == len(lines)


def test_the_101_response_ignores_application_headers_that_belong_to_the_server() -> None:
    response = accept_response(ACCEPT, "agentws.v1", [(b"X-Extra", b"1"), (b"Upgrade", b"no")])
    assert response.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nx-extra: 1\r\n" in response
    assert b"\r\nsec-websocket-protocol: agentws.v1\r\n" in response
    assert response.lower().count(b"upgrade: ") == 1


def test_a_refusal_is_a_complete_http_response() -> None:
    response = http_response(429, [(b"Content-Type", b"application/json")], b"{}")
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json")
    assert b"content-length: 2" in head and b"connection: close" in head
    assert body == b"{}"


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: x", b"a\nb", b"\0"])
def test_a_line_break_in_a_header_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        accept_response(ACCEPT, None, [(b"x", value)])
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        http_response(400, [(b"x", value)], b"")

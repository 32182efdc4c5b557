"""The protocol class under uvicorn, against an independent client and raw sockets."""

from __future__ import annotations

import logging
import socket
import struct
import time
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def close_code(caught: pytest.ExceptionInfo[ConnectionClosed]) -> int | None:
    return caught.value.rcvd.code if caught.value.rcvd else None


def test_text_and_binary_messages_of_every_size_are_echoed(server: Any) -> None:
    with connect(server.url("echo")) as client:
        for message in ("", "hello", "ü" * 70_000, b"", b"\x00" * 200, b"\xff" * 70_000):
            client.send(message)
            assert client.recv(timeout=10) == message
        client.send(["in ", "three ", "fragments"])
        assert client.recv(timeout=10) == "in three fragments"
        assert client.ping().wait(10)


def test_the_asgi_scope_of_a_connection(server: Any) -> None:
    address = server.url("scope") + "?a=%20b"
    offered = [Subprotocol("a.v1"), Subprotocol("b.v1")]
    with connect(address, subprotocols=offered, origin=Origin("http://x")) as client:
        assert client.subprotocol == "b.v1"
        assert client.response is not None and client.response.headers["X-Extra"] == "yes"
        scope = server.seen()
        local = client.local_address
    assert scope["type"] == "websocket" and scope["http_version"] == "1.1"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
    assert scope["scheme"] == "ws" and scope["path"] == scope["raw_path"].decode() == "/scope"
    assert scope["query_string"] == b"a=%20b" and scope["root_path"] == ""
    assert scope["client"] == local and scope["server"] == ("127.0.0.1", server.port)
    assert scope["subprotocols"] == ["a.v1", "b.v1"] and scope["state"] == {}
    assert (b"origin", b"http://x") in scope["headers"]
    assert set(scope["extensions"]) == {"websocket.http.response", "agentws.write"}


def test_the_log_contains_no_query_string(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "uvicorn.error"), connect(server.url("echo?token=SECRET")):
        pass
    assert server.seen()["code"] == 1000
    assert '"WebSocket /echo" [accepted]' in caplog.text
    assert "SECRET" not in caplog.text


def test_a_close_by_the_application(plain: Any) -> None:
    with connect(plain.url("close")) as client, pytest.raises(ConnectionClosed) as caught:
        client.recv(timeout=10)
    assert close_code(caught) == 4401 and caught.value.rcvd and caught.value.rcvd.reason == "who?"
    disconnect = {"type": "websocket.disconnect", "code": 4401, "reason": "who?"}
    assert plain.seen() == disconnect


def test_a_close_by_the_client(plain: Any) -> None:
    with connect(plain.url("echo")) as client:
        client.close(4000, "bye")
    assert plain.seen() == {"type": "websocket.disconnect", "code": 4000, "reason": "bye"}


def test_a_close_frame_without_a_code(plain: Any) -> None:
    client = plain.raw("echo")
    client.send(CLOSE, b"")
    assert client.frame() == (0x80 | CLOSE, b"")
    assert client.frame() == (0, b"")
    client.close()
    assert plain.seen()["code"] == 1005


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_lost_connection_is_a_disconnect_with_1006(server: Any, how: str) -> None:
    client = server.raw("echo")
    getattr(client, how)()
    assert server.seen()["code"] == 1006


def test_an_application_that_raises_closes_with_1011(
    plain: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(plain.url("crash")) as client, pytest.raises(ConnectionClosed) as caught:
        client.recv(timeout=10)
    assert close_code(caught) == 1011
    assert "as ordered" in caplog.text


@pytest.mark.parametrize(("path", "status"), [("crash_early", 500), ("refuse", 403)])
def test_an_upgrade_that_the_application_refuses_is_answered_with_an_http_status(
    server: Any, path: str, status: int
) -> None:
    with pytest.raises(InvalidStatus) as caught:
        connect(server.url(path))
    assert caught.value.response.status_code == status


def test_a_denial_response_is_sent_as_http(server: Any) -> None:
    with pytest.raises(InvalidStatus) as caught:
        connect(server.url("deny"))
    response = caught.value.response
    assert (response.status_code, response.body) == (429, b"too many")
    assert response.headers["Retry-After"] == "3"
    assert server.seen()["type"] == "websocket.disconnect"


def test_an_application_may_write_frames_itself(plain: Any) -> None:
    with connect(plain.url("framed")) as client:
        assert [client.recv(timeout=10) for _ in range(3)] == ["a", "b", "c"]
    assert plain.seen()["type"] == "websocket.disconnect"
    assert plain.seen()["type"] == "drain refused"


def test_a_ping_between_fragments_is_answered_first(plain: Any) -> None:
    client = plain.raw("echo")
    client.send(TEXT, b"a", fin=False)
    client.send(PING, b"now")
    assert client.frame() == (0x80 | PONG, b"now")
    client.send(0, b"b")
    assert client.frame() == (0x80 | TEXT, b"ab")
    client.close()


def test_a_message_in_one_byte_fragments_and_one_byte_reads(plain: Any) -> None:
    client = plain.raw("echo")
    text = "häppchen" * 40
    pieces = [text.encode()[i : i + 1] for i in range(len(text.encode()))]
    for number, piece in enumerate(pieces):
        client.send(TEXT if number == 0 else 0, piece, fin=number == len(pieces) - 1)
    assert client.frame() == (0x80 | TEXT, text.encode())
    for byte in b"\x81\x82\x00\x00\x00\x00hi":
        client.socket.sendall(bytes([byte]))
    assert client.frame() == (0x80 | TEXT, b"hi")
    client.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\x81\x02hi", 1002, id="unmasked"),
        pytest.param(b"\x83\x80\0\0\0\0", 1002, id="opcode"),
        pytest.param(b"\xc1\x80\0\0\0\0", 1002, id="reserved bit"),
        pytest.param(b"\x09\x80\0\0\0\0", 1002, id="fragmented ping"),
        pytest.param(b"\x89\xfe\x00\x7e", 1002, id="long ping"),
        pytest.param(b"\x80\x80\0\0\0\0", 1002, id="continuation of nothing"),
        pytest.param(b"\x81\x82\0\0\0\0\xc3\x28", 1007, id="invalid UTF-8"),
        pytest.param(b"\x88\x81\0\0\0\0\x03", 1002, id="truncated close"),
        pytest.param(b"\x82\xff" + struct.pack("!Q", 1 << 62), 1009, id="oversize"),
        pytest.param(b"\x82\xff" + struct.pack("!Q", 256 * 1024 + 1), 1009, id="one too many"),
    ],
)
def test_a_hostile_frame_closes_with_its_code(plain: Any, data: bytes, code: int) -> None:
    client = plain.raw("echo")
    # More bytes than the server parses: the client must get the close code all the same.
    client.socket.sendall(data + bytes(100_000))
    head, payload = client.frame()
    assert head == 0x80 | CLOSE
    assert struct.unpack("!H", payload[:2])[0] == code
    assert client.frame() == (0, b"")
    client.close()
    assert plain.seen()["code"] == code


def test_a_peer_that_continues_after_a_violation_is_dropped(plain: Any) -> None:
    client = plain.raw("echo")
    client.socket.sendall(b"\x81\x02hi")
    with pytest.raises(ConnectionError):
        while True:
            client.socket.sendall(bytes(65_536))
    client.close()


def test_backpressure_of_a_slow_consumer_pauses_the_application(start: Any) -> None:
    server = start(ws_ping_interval=0.2, ws_ping_timeout=0.2)
    client = server.raw("flood")
    # The buffers of the kernel and the server are bounded, and the keepalive ends the connection.
    assert server.seen()["type"] == "gone"
    assert server.app.sent < 32 << 20
    client.close()


def test_a_slow_application_pauses_reading_from_its_client(start: Any) -> None:
    server = start(ws_ping_interval=0.1, ws_ping_timeout=2.0)
    client = server.raw("slow")
    message = b"\x82\xfe\x10\x00" + bytes(4 + 4096)
    sent = 0
    client.socket.settimeout(3.0)
    # A timeout means that the server has paused reading; the keepalive timeout passes meanwhile.
    with pytest.raises(TimeoutError):
        while sent < 16_384:
            client.socket.sendall(message)
            sent += 1
    # Not close(): with unread pings it would be a reset, which discards data in transit.
    client.socket.shutdown(socket.SHUT_WR)
    server.app.go.set()
    assert server.seen()["count"] == sent
    client.close()


def test_a_half_open_connection_is_dropped(start: Any) -> None:
    server = start(ws_ping_interval=0.1, ws_ping_timeout=0.1)
    client = server.raw("echo")
    assert client.frame()[0] == 0x80 | PING
    disconnect = server.seen()
    assert (disconnect["code"], disconnect["reason"]) == (1006, "keepalive ping timeout")
    client.close()


def test_a_peer_that_answers_pings_is_kept(start: Any) -> None:
    server = start(ws_ping_interval=0.05, ws_ping_timeout=2.0)
    client = server.raw("echo")
    begun, pings, answered = time.monotonic(), set(), 0
    while answered < 10 or time.monotonic() - begun < 2.5:
        head, payload = client.frame()
        assert head == 0x80 | PING
        pings.add(payload)
        client.send(PONG, payload)
        answered += 1
    assert len(pings) == answered
    client.send(TEXT, b"still here")
    while (frame := client.frame())[0] == 0x80 | PING:
        client.send(PONG, frame[1])
    assert frame[1] == b"still here"
    client.close()


def test_a_ping_flood_from_a_peer_that_never_reads_costs_one_pong(start: Any) -> None:
    server = start(ws_ping_interval=0.3, ws_ping_timeout=0.3)
    client = server.raw("echo")
    flood = (b"\x89\xfd\0\0\0\0" + bytes(125)) * 500
    with pytest.raises(ConnectionError):
        while True:
            client.socket.sendall(flood)
    assert server.seen()["code"] == 1006
    client.close()


def test_a_shutdown_closes_with_1012_and_tells_the_application(start: Any) -> None:
    server = start()
    with connect(server.url("echo")) as client:
        server.stop()
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=10)
    assert close_code(caught) == 1012
    assert server.seen()["code"] == 1012


def test_frames_of_one_event_loop_pass_leave_in_one_write(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentws.server.websocket import AgentwsWebSocketProtocol

    flushes: list[Any] = []
    flush = AgentwsWebSocketProtocol.flush

    def counting(self: AgentwsWebSocketProtocol) -> None:
        flushes.append(self._out)
        flush(self)

    monkeypatch.setattr(AgentwsWebSocketProtocol, "flush", counting)
    client = start().raw("framed")
    assert [client.frame()[1] for _ in range(3)] == [b"a", b"b", b"c"]
    assert len(flushes) == 1
    client.close()

"""A transport is a pump that knows no wire by name and needs no gateway."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

import agentws.transports
from agentws.errors import BadRequest
from agentws.protocol import events as e
from agentws.protocol import frames as f
from agentws.protocol.codec import Record, event_type
from agentws.protocol.wires import WIRES, choose_wire
from agentws.protocol.wires.wire import EncoderContext, Opening, SocketWire
from agentws.testing.connect import Client, kind
from agentws.transports.commands import command_in
from agentws.transports.guard import Guard
from agentws.transports.identifying import Identifying
from agentws.transports.websocket import WebSocketTransport

from .fake_service import FakeService

SOCKETS = [wire for wire in WIRES if isinstance(wire, SocketWire)]


class TypesEncoder:
    """Tells a client the types of events, one JSON object each, and nothing else."""

    def events(self, epoch: str, records: Sequence[Record]) -> list[bytes]:
        return [b'{"type":"%b"}' % event_type(one.data).encode() for one in records]

    def control(self, frame: f.ControlFrame) -> bytes | None:
        return b'{"type":"%b"}' % str(frame.__struct_config__.tag).encode()

    def messages(self, parts: list[bytes]) -> list[bytes]:
        return parts


def types_encoder(context: EncoderContext) -> TypesEncoder:
    return TypesEncoder()


TYPES = SocketWire(
    name="types",
    subprotocol="test.types",
    encoder=types_encoder,
    decode=lambda text: f.Send(id=f.NO_ID, content=text),
    reply_to=lambda text: None,
    opening=Opening(snapshot=False, prime=False),
    binary_close_code=4400,
)


def transport(service: FakeService, *wires: SocketWire) -> WebSocketTransport:
    guard = Guard(allowed_origins=None, allowed_hosts=None)
    return WebSocketTransport(service, guard, Identifying(service), wires)


async def test_a_transport_serves_a_client_without_a_gateway() -> None:
    service = FakeService()
    client = await Client(transport(service, *SOCKETS)).open()
    assert (await client.receive())["agents"] == ["fake"]
    assert kind(await client.say("Hello", "m1")) == "accepted"
    await client.until("message.accepted")
    assert (await client.ask({"type": "cancel", "id": "c1"}))["type"] == "accepted"
    assert (await client.ask({"type": "withdraw", "id": "w1", "message": "m1"}))["position"]
    assert [type(frame) for frame in service.inbox.taken] == [f.Cancel, f.Withdraw]
    assert (await client.ask({"type": "auth", "id": "a1", "token": "t"}))["code"] == "not_supported"
    await client.aclose()
    assert len(service.connections) == 0


async def test_a_wire_that_no_pump_has_heard_of_is_served_from_its_entry_alone() -> None:
    service = FakeService()
    app = transport(service, *SOCKETS, TYPES)
    client = await Client(app, native=False, subprotocols=["other", "test.types"]).open()
    assert client.line.subprotocol == "test.types"
    await client.send("Hello")
    assert [await client.receive(), await client.receive()] == [
        {"type": "accepted"},
        {"type": "message.accepted"},
    ]
    await client.send(b"binary")
    await client.line.wait_closed()
    assert client.closed is not None and client.closed.args[0] == 4400


async def test_a_reader_follows_what_a_transport_did_not_append() -> None:
    service = FakeService()
    client = await Client(transport(service, *SOCKETS), native=False).open()
    await client.send("Hello")
    (session,) = service.sessions
    await session.append([e.NoticePosted("Done", "info")])
    assert (await client.receive())["content"] == "Done"
    await client.aclose()


def test_the_first_subprotocol_that_is_served_chooses_the_wire() -> None:
    for offered, name, subprotocol in [
        ([], f.SIMPLE, None),
        ([f.SIMPLE, f.NATIVE], f.SIMPLE, f.SIMPLE),
        (["other", f.NATIVE, f.SIMPLE], f.NATIVE, f.NATIVE),
    ]:
        wire, chosen = choose_wire(SOCKETS, offered)
        assert (wire.name, chosen) == (name, subprotocol)
    with pytest.raises(BadRequest, match="None of these subprotocols is served"):
        choose_wire(SOCKETS, ["other"])
    with pytest.raises(BadRequest, match="No subprotocol was offered") as refused:
        choose_wire([TYPES], [])
    assert refused.value.expected == "test.types"


def test_every_wire_has_a_place_of_its_own() -> None:
    places = [wire.subprotocol if isinstance(wire, SocketWire) else wire.path for wire in WIRES]
    assert len(set(places)) == len(WIRES)
    assert sum(isinstance(wire, SocketWire) and wire.default for wire in WIRES) == 1


def test_no_transport_names_a_wire_or_the_gateway() -> None:
    """Wires are reached by the table; what is needed of a gateway is in ``service``."""
    shared = {"", "wire"}
    for path in Path(agentws.transports.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not any(module.startswith("gateway") for module in modules), path
        wires = {
            one.removeprefix("protocol.wires").lstrip(".") for one in modules if "wires" in one
        }
        assert wires <= shared, path
        assert "TYPE_CHECKING" not in path.read_text(), path


def test_a_message_without_an_id_is_given_one_and_a_command_is_not() -> None:
    plain, typed = (command_in(f.Send(id=f.NO_ID, content=text)) for text in ("Hi", "/help me"))
    assert plain.id and plain.id.startswith("msg_")
    assert typed == f.Command(id=None, name="help", args="me")

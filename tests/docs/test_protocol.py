"""The protocol page is complete, and its samples are what the code reads and writes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, get_args

import httpx2
import msgspec
import pytest
from msgspec.structs import asdict
from starlette.applications import Starlette

from agentws import Agent, Limits, MemoryFileStore, RunContext, errors, mount_agent_gateway
from agentws.agents import llm
from agentws.agents.output import Output
from agentws.errors import AgentwsError, LostReason
from agentws.protocol import bodies, events, frames
from agentws.protocol.codec import Record, decode_event, event_frames, extend
from agentws.protocol.messages import Interrupt, InterruptOutcome
from agentws.protocol.notices import NOTICES, SnapshotNotice
from agentws.protocol.position import GENESIS, Position, parse_position
from agentws.protocol.snapshots import snapshot_records
from agentws.protocol.wires.simple import OutType, SimpleFrame
from agentws.runs.failure import STOP_ERRORS
from agentws.server import ServerLimits
from agentws.testing import Frame, Script, connect, running
from agentws.transports.routes import operations

from .pages import DOCS, blocks, codes, page, rows, section

PAGE = page("reference/protocol.md")
FRAMES = {one.__struct_config__.tag: one for one in get_args(frames.AnyClientFrame)}
CONTROLS = {one.__struct_config__.tag: one for one in get_args(frames.ControlFrame)}
EVENTS = {one.__struct_config__.tag: one for one in get_args(events.AnyEvent)}
FAILURE_FIELDS = {"code", "message", "retryable", "retryAfter", "expected"}


def samples() -> Iterator[tuple[str, str, str]]:
    """Every line of JSON on the page: its place, the note above it, the line."""
    for block in blocks(DOCS / "reference/protocol.md"):
        if block.language == "json":
            for number, line in enumerate(block.text.splitlines(), block.line + 1):
                yield f"line {number}", block.note, line


SAMPLES = list(samples())


def decode(note: str, line: str) -> Any:
    """The sample as the code decodes it. Raises when it is not valid."""
    value = json.loads(line)
    kind = value.get("type")
    if note.startswith("body "):
        return msgspec.json.decode(line, type=getattr(bodies, note.removeprefix("body ")))
    if "event" in value and "id" in value:
        parse_position(value["id"])
        return frames.decode_server_message(line)[0], decode_event(
            json.dumps(value["event"]).encode()
        )
    if "timestamp" in value and isinstance(value["timestamp"], str):
        return msgspec.json.decode(line, type=SimpleFrame)
    # Both directions have a frame `presence`.
    if kind in FRAMES and "members" not in value:
        return frames.decode_client_frame(line)
    if kind in CONTROLS:
        return frames.decode_server_message(line)[0]
    return decode_event(line.encode())


@pytest.mark.parametrize(("where", "note", "line"), SAMPLES, ids=[one[0] for one in SAMPLES])
def test_a_sample_is_decoded_and_encoded_without_a_change(where: str, note: str, line: str) -> None:
    decoded = decode(note, line)
    assert decoded is not None, "the code has no such type"
    if isinstance(decoded, tuple):
        decoded = decoded[1]
        line = json.dumps(json.loads(line)["event"])
    assert dropping_defaults(json.loads(msgspec.json.encode(decoded))) == dropping_defaults(
        json.loads(line)
    )


def dropping_defaults(value: dict[str, Any]) -> dict[str, Any]:
    """``answer.status`` may be written although it has its default value."""
    return {k: v for k, v in value.items() if (k, v) != ("status", "resolved")}


def test_a_tag_is_computed_as_on_the_page() -> None:
    [record] = extend(Position("7ac9c5c5", 0, GENESIS), [b'{"run":"r","event":{}}'])
    frame = event_frames("7ac9c5c5", [record])[0]
    payload = b"{" + frame.partition(b",")[2]
    assert record.tag == hashlib.sha1(b"|1|" + payload).hexdigest()[:16]
    assert json.loads(frame)["id"] == f"7ac9c5c5.1.{record.tag}"


def sample_members(kind: str) -> set[str]:
    """The members of all samples of a type."""
    found: set[str] = set()
    for _, _, line in SAMPLES:
        value = json.loads(line)
        value = value.get("event", value) if "id" in value else value
        if value.get("type") == kind:
            found |= value.keys()
    return found


def members(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)} | {"type"}


@pytest.mark.parametrize("kind", [*FRAMES, *CONTROLS])
def test_every_member_of_a_frame_has_a_sample(kind: str) -> None:
    structs = [table[kind] for table in (FRAMES, CONTROLS) if kind in table]
    wanted = set[str]().union(*map(members, structs))
    if kind in ("send", "answer", "cancel"):
        assert sample_members(kind) == wanted
    else:
        assert wanted - sample_members(kind) <= codes(PAGE), wanted - sample_members(kind)
    assert sample_members(kind), f"there is no sample of {kind}"


@pytest.mark.parametrize("kind", EVENTS)
def test_every_event_has_a_sample_with_its_required_members(kind: str) -> None:
    assert sample_members(kind), f"there is no sample of {kind}"
    required = {
        field.encode_name for field in msgspec.structs.fields(EVENTS[kind]) if field.required
    }
    assert required <= sample_members(kind)


@pytest.mark.parametrize("kind", [kind for kind in EVENTS if kind == kind.lower()])
def test_the_page_lists_every_member_of_the_gateway_events(kind: str) -> None:
    table = {row[0].strip("`"): row[1] for row in rows(section(PAGE, "### The gateway's events"))}
    listed = {name.rstrip("?") for name in codes(table[kind])}
    assert listed == members(EVENTS[kind]) - {"type", "timestamp", "metadata"}
    optional = {
        field.encode_name for field in msgspec.structs.fields(EVENTS[kind]) if not field.required
    } - {"timestamp", "metadata"}
    assert {name[:-1] for name in codes(table[kind]) if name.endswith("?")} == optional


class Careful(Agent):
    """Asks a question before it books."""

    async def run(self, ctx: RunContext) -> AsyncIterator[Output]:
        if ctx.answers:
            yield "Booked."
            return
        question = Interrupt(f"ask-{ctx.message.id}", reason="approval", message="Book it?")
        yield events.RunFinished(ctx.session.id, ctx.run_id, outcome=InterruptOutcome([question]))


async def conversation() -> list[Frame]:
    """All frames of two connections: three questions, one of them answered, a command, a notice, a
    title, and a second connection that gets a snapshot."""
    app = Starlette()
    gateway = mount_agent_gateway(app, Careful, limits=Limits(snapshot_messages=2))
    async with running(app), connect(app, "/ws/chat") as client:
        await client.say("Book a room", id="msg-0")
        await client.until("RUN_FINISHED")
        await client.say("Book a table", id="msg-1")
        await client.until("RUN_FINISHED")
        await client.send({"type": "answer", "interrupt": "ask-msg-1", "payload": True})
        await client.until("RUN_FINISHED")
        await client.say("Book another", id="msg-2")
        await client.until("RUN_FINISHED")
        await client.send({"type": "command", "id": "req-1", "name": "help"})
        await client.until("notice")
        session = client.session or ""
        await gateway.session(session).push("Your export is ready")
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app), base_url="http://testserver"
        ) as http:
            await http.patch(f"/sessions/{session}", json={"title": "Trip to Oslo"})
        async with connect(app, f"/ws/chat?session={session}") as late:
            await late.until("MESSAGES_SNAPSHOT")
            return [*client.frames, *late.frames]


def within(kind: str, frames: Iterable[Frame], *path: str) -> set[str]:
    """The members under ``path`` in the frames and events of that type."""
    found: set[str] = set()
    for frame in frames:
        said = frame["event"] if "event" in frame and "id" in frame else frame
        if said.get("type") == kind:
            for name in path:
                said = said.get(name, {})
            found |= said.keys()
    return found


async def test_the_members_of_nested_objects_have_samples() -> None:
    """Where the types allow any object."""
    samples = [json.loads(line) for _, _, line in SAMPLES]
    said = await conversation()
    for kind, *path in (
        ("MESSAGES_SNAPSHOT", "metadata", "agentws"),
        ("RUN_STARTED", "input"),
    ):
        assert within(kind, said, *path) == within(kind, samples, *path)
    # The metadata of a notice may also hold members of the application.
    assert {"command", "commands"} == within("notice", said, "metadata")
    assert {"command", "commands"} <= within("notice", samples, "metadata")


async def test_the_page_names_everything_in_the_metadata_of_a_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed: list[dict[str, Any]] = []

    def watched(*arguments: Any, extras: dict[str, Any], **options: Any) -> list[Record]:
        passed.append(extras)
        return snapshot_records(*arguments, extras=extras, **options)

    monkeypatch.setattr("agentws.transports.opening.snapshot_records", watched)
    await conversation()
    named = codes(section(PAGE, "### How a connection begins"))
    named |= {name.removeprefix("metadata.agentws.") for name in named}
    assert passed and {NOTICES, *passed[0]} <= named
    assert {field.encode_name for field in msgspec.structs.fields(SnapshotNotice)} <= codes(PAGE)


def every_error() -> set[type[AgentwsError]]:
    found: set[type[AgentwsError]] = set()
    todo: list[type[AgentwsError]] = [AgentwsError]
    while todo:
        for one in todo.pop().__subclasses__():
            if one.__module__ == errors.__name__:
                found.add(one)
                todo.append(one)
    return found


def test_the_page_lists_every_error_with_its_numbers() -> None:
    listed = {
        row[0].strip("`"): row[1:4]
        for row in rows(section(PAGE, "## Errors and close codes"))
        if len(row) == 5
    }
    wanted = {
        one.code: [str(one.status), str(one().close_code), "yes" if one.retryable else "no"]
        for one in every_error() - {errors.PositionLost, errors.Conflict}  # base classes
    }
    lost = errors.PositionLost("lost")
    wanted[lost.code] = [str(lost.status), str(lost.close_code), "no"]
    assert listed == wanted


def test_the_page_lists_every_code_of_a_failed_run() -> None:
    listed = codes(section(PAGE, "## Errors and close codes"))
    kinds = {
        one.code
        for one in vars(llm).values()
        if isinstance(one, type) and issubclass(one, AgentwsError)
    }
    assert kinds | set(STOP_ERRORS) <= listed | {"fenced"}


def test_the_page_lists_every_close_code() -> None:
    text = section(PAGE, "## Errors and close codes")
    listed = set(map(int, re.findall(r"\b(1\d{3}|4[45]\d\d)\b", text)))
    assert {4000 + one.status for one in every_error()} <= listed
    assert {1001, 1003, 1006, 1008, 1009, 1011, 1012, 1013} <= listed


def test_the_page_lists_every_reason_type_and_overlap() -> None:
    reasons = {row[0].strip("`") for row in rows(section(PAGE, "### How a connection begins"))}
    assert reasons == {*get_args(LostReason), "no_position"}
    kinds = {row[0].strip("`") for row in rows(section(PAGE, "## The simple wire"))}
    assert kinds == set(get_args(OutType))
    overlaps = {
        row[0].strip("`") for row in rows(section(PAGE, "## The native wire: client to server"))
    }
    assert overlaps == set(get_args(events.Overlap))


def test_the_page_lists_every_built_in_command() -> None:
    listed = {row[0].strip("`/") for row in rows(section(PAGE, "## Commands"))}
    assert listed == {"ping", "help", "history", "clear", "whoami", "agents", "agent"}


def test_the_page_lists_every_route_with_its_audience() -> None:
    listed = {
        (route.replace("{prefix}", "").replace("{path}", "{path:path}"), audience)
        for named, audience, _ in rows(section(PAGE, "## HTTP"))
        for route in codes(named)
    }
    gateway = mount_agent_gateway(Starlette(), Script(), files=MemoryFileStore())
    served = {
        (f"{one.method} {one.path}", one.audience)
        for one in operations(gateway, prefix="", page=True)
    }
    assert listed == served


def test_every_limit_in_welcome_is_a_setting() -> None:
    assert set(frames.FrameLimits.__struct_fields__) <= set(Limits.__struct_fields__)


def test_the_settings_page_lists_every_limit_with_its_default() -> None:
    table = {row[0].strip("`"): row[1] for row in rows(page("reference/settings.md"))}
    defaults = {name: str(getattr(Limits(), name)) for name in Limits.__struct_fields__}
    defaults |= {name: str(value) for name, value in asdict(ServerLimits()).items()}
    assert table == defaults

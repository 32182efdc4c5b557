"""The simple wire: one object per message, only what a person may read, nothing on connect."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest

from agentws.protocol import events as e
from agentws.testing.agents import Gate, Hang, Raise, Script, Sleep, Step
from agentws.testing.connect import Client, Frame

from .conftest import Make
from .world import World

TYPES = {"text", "delta", "system", "notice", "error"}


async def simple(world: World, query: str = "", **options: Any) -> Client:
    return await world.client(query, native=False, **options)


async def ask(client: Client, text: str) -> Frame:
    await client.send(text)
    return await client.receive()


def check_frame(frame: Frame) -> None:
    assert set(frame) == {"type", "content", "metadata", "timestamp"}
    assert frame["type"] in TYPES
    assert isinstance(frame["content"], str) and frame["content"]
    assert isinstance(frame["metadata"], dict)
    moment = datetime.datetime.fromisoformat(frame["timestamp"])
    assert moment.tzinfo is not None and frame["timestamp"].endswith("Z")


async def test_a_simple_client_gets_nothing_on_connect_and_one_answer_per_message(
    make: Make,
) -> None:
    async with make(Script("Hello ", "there")) as world:
        client = await simple(world)
        assert client.line.subprotocol is None
        await asyncio.sleep(60)
        assert await client.settle() == []
        answer = await ask(client, "Hello from client")
        assert (answer["type"], answer["content"]) == ("text", "Hello there")
        assert {"session_id", "message_id", "run_id", "position"} <= answer["metadata"].keys()
        await asyncio.sleep(60)
        assert await client.settle() == []
        for frame in client.frames:
            check_frame(frame)


CITED = [
    e.ActivitySnapshot("s1", "agentws.source", {"number": 1, "url": "https://example.com/a"}),
    e.ActivitySnapshot("x1", "chart", {"points": [1]}),
    e.ActivitySnapshot(
        "s2", "agentws.source", {"number": 2, "url": "https://example.com/b", "title": "B\n b"}
    ),
]
SOURCES = "Sources:\n[1] https://example.com/a\n[2] B b https://example.com/b"


async def test_the_sources_of_an_answer_are_a_note_after_it(make: Make) -> None:
    async with make(Script(*CITED[:2], "See [1], [2].", CITED[2])) as world:
        client = await simple(world)
        for _ in range(2):
            answer = await ask(client, "Hello")
            assert (answer["type"], answer["content"]) == ("text", "See [1], [2].")
            note = await client.receive()
            assert (note["type"], note["content"]) == ("system", SOURCES)
            assert {"run_id", "position"} <= note["metadata"].keys()
        for frame in client.frames:
            check_frame(frame)


async def test_the_sources_of_a_failed_answer_come_before_its_error(make: Make) -> None:
    async with make(Script("See", *CITED, Raise(ValueError("no")))) as world:
        client = await simple(world)
        kinds = [(await ask(client, "Hello"))["type"]]
        kinds += [(await client.receive())["type"] for _ in range(2)]
        assert kinds == ["text", "system", "error"]


async def test_a_client_that_comes_back_gets_all_sources(make: Make) -> None:
    gate = Gate()
    async with make(Script(CITED[0], "See [1], [2].", CITED[2], gate, "More.")) as world:
        client = await simple(world, "stream=1")
        await client.send("Hello")
        await client.receive()
        client.drop()
        await client.reconnect()
        gate.open()
        while (note := await client.receive())["type"] != "system":
            pass
        assert note["content"] == SOURCES


SENT: dict[str, tuple[str, str]] = {
    "plain text": ("Hello", "Hello"),
    "JSON with a type": ('{"type": "text", "content": "Hello"}', "Hello"),
    "JSON without one": ('{"content": "Hello"}', "Hello"),
    "all its members": (
        '{"type":"text","content":"Hello","metadata":{},"timestamp":"2025-11-02T10:30:00"}',
        "Hello",
    ),
    "unknown members": ('{"content": "Hello", "colour": "red"}', "Hello"),
    "code": ("{'a': 1}", "{'a': 1}"),
    "another JSON object": ('{"a": 1}', '{"a": 1}'),
    "an unfinished object": ('{"type": "text", ', '{"type": "text", '),
    "a list": ("[1, 2]", "[1, 2]"),
    "a number": ("42", "42"),
    "a quoted string": ('"Hello"', '"Hello"'),
    "leading space": (' {"content": "x"}', ' {"content": "x"}'),
    "an escaped command": ("//help me", "/help me"),
    "emoji": ("👩‍👩‍👧‍👦 مرحبا", "👩‍👩‍👧‍👦 مرحبا"),
    "terminal escapes": ("\x1b[31mred\u202e", "\x1b[31mred\u202e"),
}


@pytest.mark.parametrize(("sent", "asked"), SENT.values(), ids=SENT.keys())
async def test_text_and_json_with_content_are_messages(make: Make, sent: str, asked: str) -> None:
    script = Script("fine")
    async with make(script) as world:
        client = await simple(world)
        assert (await ask(client, sent))["content"] == "fine"
        assert script.texts == [asked]


REFUSED: dict[str, str] = {
    "an unknown type": '{"type": "image", "content": "x"}',
    "a type without content": '{"type": "text"}',
    "content that is not a string": '{"content": 5}',
    "content that is null": '{"type": "text", "content": null}',
    "metadata that is not an object": '{"content": "x", "metadata": []}',
    "an empty message": "",
    "white space": " \n\t ",
    "empty content": '{"content": ""}',
    "U+0000": "a\x00b",
    "U+0000 escaped": '{"content": "\\u0000"}',
    "a deep value": '{"content": "x", "metadata": {"a":' + "[" * 50 + "]" * 50 + "}}",
    "an unknown command": "/nothing",
}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED.keys())
async def test_an_invalid_simple_message_is_refused_with_an_error(make: Make, sent: str) -> None:
    async with make(Script("fine")) as world:
        client = await simple(world)
        error = await ask(client, sent)
        check_frame(error)
        assert error["type"] == "error"
        assert error["metadata"]["code"] in ("bad_request", "unknown_command")
        assert (await ask(client, "Hello"))["content"] == "fine"


async def test_a_simple_client_can_use_commands(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await simple(world)
        assert (await ask(client, "ping"))["content"] == "pong"
        assert (await ask(client, '{"type": "ping"}'))["content"] == "pong"
        assert (await ask(client, '{"type": "ping", "content": 5}'))["content"] == "pong"
        assert "/history" in (await ask(client, "/help"))["content"]
        assert str(client.session) in (await ask(client, "/whoami"))["content"]
        await ask(client, "Hello")
        history = await ask(client, "/history")
        assert history["type"] == "system"
        assert history["content"] == "You: Hello\nAgent: fine"
        await ask(client, "/clear")
        assert (await ask(client, "/history"))["content"] == "There is no conversation yet."
        unknown = await ask(client, "/hlep")
        assert "/help" in unknown["content"]
        for frame in client.frames:
            check_frame(frame)


async def test_each_message_of_a_run_is_sent_by_itself(make: Make) -> None:
    steps: list[Step] = [
        e.TextMessageStart("a"),
        e.TextMessageContent(message_id="a", delta="first"),
        e.TextMessageEnd("a"),
        e.ToolCallStart("c", "look"),
        e.ToolCallArgs(tool_call_id="c", delta="{}"),
        e.ToolCallEnd("c"),
        e.TextMessageStart("empty"),
        e.TextMessageEnd("empty"),
        "second",
    ]
    async with make(Script(*steps)) as world:
        client = await simple(world)
        assert (await ask(client, "go"))["content"] == "first"
        assert (await client.receive())["content"] == "second"
        assert await client.settle() == []


async def test_deltas_are_sent_with_stream_1(make: Make) -> None:
    async with make(Script("one ", Sleep(0.1), "two ", Sleep(0.1), "three")) as world:
        client = await simple(world, "stream=1")
        await client.send("go")
        while not client.frames or client.frames[-1]["type"] != "text":
            check_frame(await client.receive())
        deltas = [frame["content"] for frame in client.frames if frame["type"] == "delta"]
        assert deltas == ["one ", "two ", "three"]
        assert client.frames[-1]["content"] == "one two three"


async def test_a_failed_and_a_timed_out_answer_are_reported(make: Make) -> None:
    script = Script(named={"fail": ["partial", Raise(ValueError("secret"))], "hang": [Hang()]})
    async with make(script, run_timeout=3.0) as world:
        client = await simple(world)
        assert (await ask(client, "fail"))["content"] == "partial"
        error = await client.receive()
        assert (error["type"], error["metadata"]["code"]) == ("error", "agent_error")
        assert "secret" not in str(error)
        error = await ask(client, "hang")
        assert error["metadata"]["code"] == "timed_out"
        for frame in client.frames:
            check_frame(frame)


async def test_a_simple_client_that_reconnects_midway_gets_the_whole_answer(make: Make) -> None:
    """The whole message is sent, with the part written while nobody was connected."""
    gates = [Gate(), Gate()]
    async with make(Script("one ", gates[0], "two ", gates[1], "three")) as world:
        client = await simple(world)
        await client.send("go")
        await gates[0].reached()
        session = world.gateways[0].sessions
        client.session = next(iter(session)).id
        client.drop()
        gates[0].open()
        await gates[1].reached()
        await asyncio.sleep(0.5)
        await world.back(client)
        assert await client.settle() == []
        gates[1].open()
        assert (await client.receive())["content"] == "one two three"


async def test_a_simple_client_that_resumes_gets_only_what_it_missed(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await simple(world)
        await ask(client, "one")
        native = await world.join(client)
        client.drop()
        await native.say("two", "m2")
        await native.until("RUN_FINISHED")
        await world.back(client)
        assert (await client.receive())["content"] == "fine"
        assert await client.settle() == []


@pytest.mark.parametrize("query", ["", "stream=1"], ids=["whole", "stream"])
async def test_a_simple_client_that_resumes_at_a_compacted_position_gets_the_whole_answer(
    make: Make, query: str
) -> None:
    """A delta's position is compacted away after a while; its message is then sent whole."""
    gates = [Gate(), Gate()]
    steps: list[Step] = ["one ", Sleep(0.1), "two ", gates[0], Sleep(0.1), "three", gates[1]]
    async with make(Script(*steps), replay_window=5.0) as world:
        client = await simple(world, "stream=1")
        await client.send("go")
        while not client.frames or client.frames[-1]["content"] != "two ":
            await client.receive()
        client.drop()
        client.query.pop("stream", None)
        client.query |= {"stream": "1"} if query else {}
        for gate in gates:
            gate.open()
        await asyncio.sleep(20)
        before = len(client.frames)
        await world.back(client)
        frame = await client.receive()
        while frame["type"] == "delta":
            frame = await client.receive()
        assert (frame["type"], frame["content"]) == ("text", "one two three")
        assert all(frame["type"] != "error" for frame in client.frames[before:])
        assert await client.settle() == []


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        ("{epoch}.999.0000000000000000", "future"),
        ("another.1.0000000000000000", "epoch"),
        ("{epoch}.1.", "lost"),
        ("null", "lost"),
        ("", "lost"),
    ],
)
@pytest.mark.parametrize("query", ["", "stream=1"], ids=["whole", "stream"])
async def test_a_position_that_can_not_be_resumed_is_reported_by_an_error(
    make: Make, position: str, reason: str, query: str
) -> None:
    async with make(Script("fine")) as world:
        client = await simple(world)
        await ask(client, "one")
        assert client.position is not None
        client.position = position.format(epoch=client.position.split(".")[0])
        client.query |= {"stream": "1"} if query else {}
        await world.back(client)
        error = await client.receive()
        assert (error["type"], error["metadata"]["code"]) == ("error", "position_lost")
        assert reason in error["content"]
        assert await client.settle() == []
        assert (await ask(client, "two"))["content"] == "fine"


@pytest.mark.parametrize("after", ["0123abcd.7.0123456789abcdef", "garbage", ""])
async def test_a_position_for_a_new_session_is_reported_as_lost(make: Make, after: str) -> None:
    async with make(Script("fine")) as world:
        client = await simple(world, f"session=my-own-session-id&after={after}")
        error = await client.receive()
        assert (error["type"], error["metadata"]["code"]) == ("error", "position_lost")
        assert "lost" in error["content"]
        assert (await ask(client, "one"))["content"] == "fine"


async def test_a_simple_client_without_a_position_gets_only_new_messages(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await simple(world)
        await ask(client, "one")
        client.position = None
        await world.back(client)
        await asyncio.sleep(1)
        assert await client.settle() == []
        assert (await ask(client, "two"))["content"] == "fine"


async def test_a_native_client_can_continue_the_session_of_a_simple_one(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await simple(world)
        await ask(client, "one")
        native = await world.join(client)
        assert (await native.receive())["resume"] == "snapshot"
        messages = (await native.receive())["event"]["messages"]
        assert [message["content"] for message in messages] == ["one", "fine"]
        await ask(client, "two")
        assert await native.answer() == "fine"
        await world.check(native)


async def test_pushes_and_broadcasts_are_notices(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await simple(world)
        await ask(client, "one")
        await world.gateways[-1].session(str(client.session)).push("Your export is ready")
        notice = await client.receive()
        assert (notice["type"], notice["content"]) == ("notice", "Your export is ready")
        for frame in client.frames:
            check_frame(frame)


async def test_a_broadcast_reaches_every_connection_of_the_node(make: Make) -> None:
    async with make(Script("fine")) as world:
        clients = [await simple(world) for _ in range(4)]
        for gateway in world.gateways:
            await gateway.broadcast("Maintenance at 22:00", level="warning")
        for client in clients:
            notice = await client.receive()
            assert (notice["type"], notice["content"]) == ("notice", "Maintenance at 22:00")


async def test_a_binary_message_closes_a_simple_connection(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await simple(world)
        await client.send(b"Hello")
        assert (await client.wait_closed()).code == 1003

"""Hostile frames: each gets one error, and the connection stays open or is closed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentws.testing.agents import Script
from agentws.testing.connect import Client, Frame, kind

from .conftest import Make
from .world import World


def send(**members: Any) -> str:
    return json.dumps({"type": "send", "id": "m1", "content": "x", **members})


BAD: dict[str, str] = {
    "not JSON": "Hello",
    "nothing": "",
    "a list": "[]",
    "a string": '"send"',
    "a number": "1",
    "null": "null",
    "no type": '{"id":"m1"}',
    "an unknown type": '{"type":"sned","id":"m1"}',
    "a type that is a number": '{"type":5}',
    "an event": '{"type":"RUN_FINISHED","threadId":"t","runId":"r"}',
    "a frame of the server": '{"type":"welcome"}',
    "send without an id": '{"type":"send","content":"x"}',
    "send without content": '{"type":"send","id":"m1"}',
    "an id that is a number": send(id=5),
    "an id that is null": send(id=None),
    "an empty id": send(id=""),
    "a long id": send(id="x" * 129),
    "empty content": send(content=""),
    "white space": send(content=" \n"),
    "content that is null": send(content=None),
    "content that is an object": send(content={"text": "x"}),
    "content without parts": send(content=[]),
    "parts of an unknown type": send(content=[{"type": "video/mp4"}]),
    "a path for an attachment": send(attachments=[{"path": "/etc/passwd"}]),
    "an unknown overlap": send(overlap="now"),
    "metadata that is a list": send(metadata=[]),
    "U+0000": send(content="a\x00b"),
    "U+0000 in metadata": send(metadata={"a\x00": 1}),
    "U+0000 in an id": send(id="a\x00"),
    "a raw U+0000": '{"type":"send","id":"m1","content":"\x00"}',
    "a lone surrogate": '{"type":"send","id":"m1","content":"\\ud800"}',
    "half a pair": '{"type":"send","id":"m1","content":"\\udc00\\ud800"}',
    "NaN": '{"type":"send","id":"m1","content":"x","metadata":{"a":NaN}}',
    "-Infinity": '{"type":"send","id":"m1","content":"x","metadata":{"a":-Infinity}}',
    "1e400": '{"type":"send","id":"m1","content":"x","metadata":{"a":1e400}}',
    "5,000 digits": '{"type":"send","id":"m1","content":"x","metadata":{"a":' + "9" * 5000 + "}}",
    "a byte order mark": "\ufeff" + send(),
    "trailing garbage": send() + "x",
    "two objects": send() + send(),
    "a comma too many": '{"type":"ping",}',
    "a single quote": "{'type':'ping'}",
    "deep arrays": '{"type":"send","id":"m1","content":"x","metadata":{"a":'
    + "[" * 20_000
    + "]" * 20_000
    + "}}",
    "deep arrays in an unknown member": '{"type":"ping","a":' + "[" * 30_000 + "]" * 30_000 + "}",
    "deep objects": '{"type":"send","id":"m1","content":"x","metadata":'
    + '{"a":' * 9_000
    + "1"
    + "}" * 9_001,
    "40 levels": '{"type":"send","id":"m1","content":"x","metadata":{"a":'
    + "[" * 40
    + "]" * 40
    + "}}",
    "many keys": send(metadata={str(number): 1 for number in range(6000)}),
    "many values": send(metadata={"a": [0] * 20_000}),
    "an answer without a question": '{"type":"answer","id":"a1"}',
    "an answer of an unknown status": '{"type":"answer","interrupt":"i","status":"maybe"}',
    "a command without a name": '{"type":"command","id":"c1"}',
    "a command of no name": '{"type":"command","id":"c1","name":"/"}',
    "an unknown agent": send(agent="nobody"),
    "two types": '{"type":"ping","type":"send","id":"m1","content":"x"}',
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
async def test_a_malformed_frame_is_refused_and_the_connection_stays_open(
    make: Make, text: str
) -> None:
    async with make(Script("fine")) as world:
        client = await world.client()
        await client.until("welcome")
        await client.send(text)
        error = await client.receive()
        assert error["type"] == "error", error
        assert (error["code"], error["retryable"]) == ("bad_request", False)
        assert len(error["message"]) < 300 and error["expected"]
        await lives(client)
        await world.check(client)


async def test_a_frame_of_an_unknown_type_is_told_all_types(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await world.client()
        await client.until("welcome")
        expected = (await client.ask({"type": "sned", "id": "m1"}))["expected"]
        assert "send, regenerate" in expected and "state" in expected and "ping" in expected


async def lives(client: Client) -> None:
    assert (await client.ask({"type": "ping", "id": "still here"}))["type"] == "pong"
    await client.say("x", "good")
    assert await client.answer() == "fine"


@pytest.mark.parametrize(
    "text",
    [
        '{"id":"m7","type":"sned"}',
        '{"type":"send","id":"m7"}',
        '{"type":"send","id":"m7","content":5}',
    ],
)
async def test_an_error_names_the_id_of_the_malformed_frame(make: Make, text: str) -> None:
    async with make(Script("fine")) as world:
        client = await world.client()
        await client.until("welcome")
        await client.send(text)
        assert (await client.receive())["reply"] == "m7"


ODD: dict[str, str] = {
    "unknown members": send(colour="red", id="odd"),
    "duplicate members, the last wins": '{"type":"send","id":"a","id":"odd","content":"x"}',
    "white space around": "\n\t " + send(id="odd") + " \r\n",
    "escaped letters": '{"\\u0074ype":"send","id":"odd","content":"\\u0078"}',
    "a pair of surrogates": '{"type":"send","id":"odd","content":"\\ud83d\\ude00"}',
    "content in parts": send(id="odd", content=[{"type": "text", "text": "x"}]),
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
async def test_an_unusual_but_valid_frame_is_accepted(make: Make, text: str) -> None:
    async with make(Script("fine")) as world:
        client = await world.client()
        await client.until("welcome")
        await client.send(text)
        reply = await client.until(lambda frame: kind(frame) in ("accepted", "error"))
        assert (reply["type"], reply["reply"]) == ("accepted", "odd")
        assert await client.answer() == "fine"


TEXTS = [
    "😀👩‍👩‍👧‍👦🏳️‍🌈",
    "مرحبا بالعالم שלום",
    "\u202eevil\u202c",
    "\x1b[31mred\x1b[0m\r\n\x07",
    "\u200b\ufeff\u2060x",
    '</script><img src=x onerror="alert(1)">',
    '{"type":"run.cancelling"}',
    "{{7*7}} ${jndi:ldap://x} %s %n",
    "line\u2028separator\u2029",
    "e\u0301 é \U0010ffff",
    "x" * 60_000,
    "€" * 21_000,
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
async def test_any_text_is_stored_and_sent_unchanged(make: Make, text: str) -> None:
    script = Script(text)
    async with make(script) as world:
        client = await world.client()
        await client.until("welcome")
        await client.say(text, "m1")
        assert await client.answer() == text
        assert script.texts == [text]
        other = await world.join(client)
        snapshot = await other.until("MESSAGES_SNAPSHOT")
        assert [one["content"] for one in snapshot["event"]["messages"]] == [text, text]
        await world.check(client)


async def test_a_frame_that_is_not_offered_yet_is_refused_with_not_supported(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await world.client()
        await client.until("welcome")
        for frame in NOT_OFFERED:
            error = await client.ask(frame)
            assert (error["type"], error["code"]) == ("error", "not_supported")
        await lives(client)


NOT_OFFERED: list[Frame] = [
    {"type": "state", "id": "2", "patch": [{"op": "add", "path": "/a", "value": 1}]},
    {"type": "subscribe", "id": "3", "topic": "t"},
    {"type": "auth", "id": "5", "token": "t"},
]


@pytest.mark.parametrize("native", [True, False], ids=["native", "simple"])
async def test_a_message_above_the_size_limit_closes_the_connection(
    make: Make, native: bool
) -> None:
    async with make(Script("fine")) as world:
        client = await world.client(native=native)
        await client.settle()
        await client.send("x" * (64 * 1024 + 1))
        error = await client.receive()
        assert "too_large" in str(error)
        assert (await client.wait_closed()).code == 4413


async def test_a_message_of_exactly_the_size_limit_is_accepted(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await world.client(native=False)
        await client.send("€" * 21_845 + "x")
        assert (await client.receive())["content"] == "fine"


@pytest.mark.parametrize("native", [True, False], ids=["native", "simple"])
async def test_too_many_malformed_frames_in_a_row_close_the_connection(
    make: Make, native: bool
) -> None:
    async with make(Script("fine")) as world:
        client = await world.client(native=native)
        for _ in range(20):
            await client.send('{"type":"nonsense"}')
        assert (await client.wait_closed()).code == 4429
        errors = [frame for frame in client.frames if frame["type"] == "error"]
        assert len(errors) >= 20


async def test_malformed_frames_between_valid_ones_do_not_close_the_connection(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await world.client()
        await client.until("welcome")
        for _ in range(30):
            await client.send('{"type":"nonsense"}')
            assert (await client.receive())["type"] == "error"
            assert (await client.ask({"type": "ping", "id": "p"}))["type"] == "pong"


async def test_a_binary_message_closes_a_native_connection(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await world.client()
        await client.send(b"{}")
        assert (await client.wait_closed()).code == 4400


async def test_messages_after_a_close_are_ignored(make: Make) -> None:
    script = Script("fine")
    async with make(script) as world:
        client = await world.client()
        await client.until("welcome")
        await client.send(b"{}")
        try:
            await client.send(send())
        finally:
            await client.wait_closed()
        assert script.texts == []


async def test_a_flood_of_messages_is_rate_limited(make: Make) -> None:
    """Messages above the rate are refused; then the connection is closed. None accepted is lost."""
    limits = {"message_rate": 20.0, "message_burst": 40, "max_queued": 1000}
    async with make(Script("fine"), **limits) as world:
        client = await world.client()
        await client.until("welcome")
        for number in range(100):
            await client.send({"type": "send", "id": f"m{number}", "content": "x"})
        assert (await client.wait_closed()).code == 4429
        refused = [frame for frame in client.frames if kind(frame) == "error"]
        assert {frame["code"] for frame in refused} == {"too_many"}
        assert all(frame["retryable"] and frame["retryAfter"] > 0 for frame in refused)
        done = [frame for frame in client.frames if kind(frame) == "accepted"]
        assert len(done) == 40
        await world.back(client)
        await client.say("x", "last")
        while answered_message(client) != "last":
            await client.receive()
        if kind(client.frames[-1]) != "RUN_FINISHED":
            await client.until("RUN_FINISHED")
        await world.check(client)


def answered_message(client: Client) -> str | None:
    """The message that the last run answers."""
    started = [event for event in client.events() if event["type"] == "RUN_STARTED"]
    return str(started[-1]["input"]["messages"][0]["id"]) if started else None


async def test_a_flood_of_bytes_is_rate_limited(make: Make) -> None:
    async with make(Script("fine"), byte_rate=100_000.0, max_queued=1000) as world:
        client = await world.client()
        await client.until("welcome")
        for number in range(3):
            await client.send(send(id=f"m{number}", content="x" * 60_000))
        replies = [
            await client.until(lambda frame: kind(frame) in ("accepted", "error")) for _ in range(3)
        ]
        assert [reply["type"] for reply in replies] == ["accepted", "error", "error"]
        assert replies[1]["code"] == "too_many"


async def check_world(world: World) -> None:
    """No closed connection is counted any more."""
    for gateway in world.gateways:
        assert gateway.stats()["total_connections"] == 0


async def test_a_closed_connection_leaves_no_follower_behind(make: Make) -> None:
    async with make(Script("fine")) as world:
        for number in range(10):
            client = await world.client(native=bool(number % 2))
            await client.send("nonsense")
            await client.settle()
            client.drop()
            await client.line.wait_closed()
        await check_world(world)

"""Every message of the server has a bounded size, however large an answer is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentws.protocol import events as e
from agentws.protocol.parts import is_cut
from agentws.protocol.sizes import EVENT, MESSAGE, PAGE, TEXT
from agentws.protocol.wires.long_text import PART, WHOLE, LongText
from agentws.protocol.wires.simple import SimpleEncoder
from agentws.testing.agents import Gate, Script, Yield
from agentws.testing.connect import TERMINAL, Client, Frame, kind
from agentws.testing.oracle import check_simple
from tests.session.paging import joined

from .conftest import Make
from .world import World

MIB = 1024 * 1024
LINE = 'Zwölf Boxkämpfer, said "he"\r\n\r\n\U0001f44d\U0001f3fd and so on. ' * 20 + "\n\n"
LARGE = LINE * (5 * MIB // 2 // len(LINE.encode()))
RESULT = e.ToolCallResult("r", "c", "x" * 200_000)
CALL = [e.ToolCallStart("c", "look"), e.ToolCallEnd("c")]


async def raw(client: Client, *ends: str) -> list[str]:
    """The messages that come, as they are, up to one with a frame of these kinds."""
    messages: list[str] = []
    while client._unread:
        client._take(client._unread.popleft())
    while True:
        messages.append(await client.line.receive())
        frames = json.loads(messages[-1])
        frames = frames if isinstance(frames, list) else [frames]
        for frame in frames:
            client._take(frame)
        if any(kind(frame) in (ends or TERMINAL) for frame in frames):
            return messages


def check_sizes(messages: list[str]) -> None:
    for message in messages:
        frames = json.loads(message)
        size = len(message.encode())
        assert size <= EVENT
        assert size <= MESSAGE or not isinstance(frames, list)
        for frame in frames if isinstance(frames, list) else [frames]:
            if "delta" in frame.get("event", {}):
                said = json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
                assert len(said.encode()) <= TEXT + 1000


def text_of(frames: list[Frame]) -> str:
    events = [frame["event"] for frame in frames if "event" in frame]
    return "".join(one["delta"] for one in events if one["type"] == "TEXT_MESSAGE_CONTENT")


async def world_of(world: World, text: str) -> Client:
    client = await world.client()
    await client.until("welcome")
    await client.say(text, "m1")
    return client


async def test_a_large_live_answer_is_sent_in_messages_of_a_bounded_size(make: Make) -> None:
    async with make(Script(LARGE)) as world:
        client = await world_of(world, "go")
        check_sizes(await raw(client))
        assert text_of(client.frames) == LARGE
        await world.check(client)


async def test_a_replay_of_a_large_answer_is_sent_in_messages_of_a_bounded_size(make: Make) -> None:
    async with make(Script(LARGE, Yield(*CALL, RESULT), "x" * 100_000)) as world:
        client = await world_of(world, "go")
        await client.until("TEXT_MESSAGE_START")
        start = client.position
        await client.until(lambda frame: kind(frame) in TERMINAL, within=60)
        late = await world.join(client, f"after={start}")
        check_sizes(await raw(late))
        assert text_of(late.frames) == text_of(client.frames)
        await world.check(client)


async def test_a_large_answer_joined_midway_is_sent_in_messages_of_a_bounded_size(
    make: Make,
) -> None:
    """A client that joins in the middle of a run gets all of it."""
    gate = Gate()
    async with make(Script(LARGE, gate, "end")) as world:
        client = await world_of(world, "go")
        await gate.reached()
        late = await world.join(client)
        gate.open()
        check_sizes(await raw(late))
        assert text_of(late.frames) == LARGE + "end"


async def test_a_snapshot_is_bounded_and_older_parts_can_be_paged(make: Make) -> None:
    async with make(Script(named={"large": [LARGE], "small": ["Hello"]})) as world:
        client = await world_of(world, "large")
        await client.until("RUN_FINISHED", within=60)
        late = await world.join(client)
        check_sizes(await raw(late, "MESSAGES_SNAPSHOT"))
        (snapshot,) = late.events()
        (message,) = snapshot["messages"]
        assert message["metadata"]["agentws"]["cut"] is True
        assert LARGE.endswith(message["content"]) and len(message["content"]) > 50_000
        await world.check(late)
        (session,) = list(world.gateways[0].sessions)
        pages = [(await session.snapshot(messages=20, size=PAGE)).page]
        assert pages[0].before == snapshot["metadata"]["agentws"]["before"]
        while (before := pages[-1].before) is not None:
            pages.append(await session.page_before(before, messages=20, size=PAGE))
        whole = joined(pages)
        assert whole == await session.messages()
        assert not any(map(is_cut, whole))


async def test_a_snapshot_with_everything_large_stays_below_the_message_limit(make: Make) -> None:
    """State, questions, notices and waiting messages beside the messages."""
    gate = Gate()
    state = e.StateSnapshot({"k": "x" * 200_000})
    script = Script(
        named={"large": [LARGE[:MIB], Yield(*CALL, RESULT, state)], "wait": [gate]},
    )
    async with make(script, max_message_size=MIB) as world:
        client = await world_of(world, "large")
        await client.until("RUN_FINISHED", within=60)
        for number in range(5):
            handle = world.gateways[0].session(str(client.session))
            await handle.push(f"{number}" + "x" * 20_000)
        await client.say("wait", "m2")
        for number in range(3, 12):
            await client.say("y" * 60_000, f"m{number}")
        late = await world.join(client)
        messages = await raw(late, "RUN_STARTED")
        check_sizes(messages)
        await late.settle()
        kinds = [one["type"] for one in late.events()]
        assert kinds[:2] == ["MESSAGES_SNAPSHOT", "STATE_SNAPSHOT"]
        assert not late.line.closed
        gate.open()


@pytest.mark.parametrize("length", [10_000, 100_000])
async def test_events_yielded_together_are_sent_in_messages_of_a_bounded_size(
    make: Make, length: int
) -> None:
    """Also where they are few."""
    items: list[Any] = [e.Custom("n", "x" * length) for _ in range(20)]
    async with make(Script(Yield(*items))) as world:
        client = await world_of(world, "go")
        check_sizes(await raw(client))
        await world.check(client)


# The simple wire


async def simple_answer(world: World, query: str = "") -> tuple[Client, list[str]]:
    client = await world.client(query, native=False)
    await client.send("go")
    messages: list[str] = []
    while True:
        messages.append(await client.line.receive())
        frame = client._take(json.loads(messages[-1]))
        if frame["type"] == "text" and not frame["metadata"].get("more"):
            return client, messages


def texts(client: Client) -> list[Frame]:
    return [frame for frame in client.frames if frame["type"] == "text"]


async def test_a_simple_answer_of_less_than_1_mib_is_one_message(make: Make) -> None:
    said = LARGE.encode()[:900_000].decode(errors="ignore")
    async with make(Script(said)) as world:
        client, messages = await simple_answer(world)
        (frame,) = texts(client)
        assert frame["content"] == said
        assert not {"part", "more"} & frame["metadata"].keys()
        assert len(messages[0].encode()) <= MIB


@pytest.mark.parametrize("query", ["", "stream=1"])
async def test_a_simple_answer_above_1_mib_is_sent_in_numbered_parts(
    make: Make, query: str
) -> None:
    async with make(Script(LARGE)) as world:
        client, messages = await simple_answer(world, query)
        frames = texts(client)
        assert "".join(frame["content"] for frame in frames) == LARGE
        assert [frame["metadata"]["part"] for frame in frames] == list(range(1, len(frames) + 1))
        more = [frame["metadata"]["more"] for frame in frames]
        assert more == [True] * (len(frames) - 1) + [False]
        assert len({frame["metadata"]["message_id"] for frame in frames}) == 1
        assert max(len(message.encode()) for message in messages) <= EVENT
        for frame in frames[:-1]:
            assert frame["content"].endswith("\n"), "not where people pause"
        check_simple((await world.records(client))[1], client.frames)
        deltas = [frame["content"] for frame in client.frames if frame["type"] == "delta"]
        assert "".join(deltas) == (LARGE if query else "")


async def test_a_simple_client_that_reconnects_between_parts_gets_the_remaining_ones(
    make: Make,
) -> None:
    async with make(Script(LARGE)) as world:
        client, _ = await simple_answer(world)
        for at, frame in enumerate(texts(client)):
            position = frame["metadata"].get("position")
            if position is None or not frame["metadata"]["more"]:
                continue
            query = f"session={client.session}&after={position}"
            back = await world.client(query, native=False)
            frames: list[Frame] = []
            while not frames or frames[-1]["metadata"]["more"]:
                frames.append(await back.receive())
            assert [one["metadata"]["part"] for one in frames] == [
                one["metadata"]["part"] for one in texts(client)[at + 1 :]
            ]
            assert [one["content"] for one in frames] == [
                one["content"] for one in texts(client)[at + 1 :]
            ]


def test_parts_do_not_depend_on_how_the_text_was_cut_into_deltas() -> None:
    inside = json.dumps(LARGE, ensure_ascii=False).encode()[1:-1]
    sent: list[list[tuple[int, str]]] = []
    for step in (997, 60_000, 64 * 1024):
        text, parts, start = LongText(), [], 0
        while start < len(inside):
            end = start + step
            while end < len(inside) and (inside[end] >> 6 == 2 or 0x5C in inside[end - 6 : end]):
                end += 1
            text.add(memoryview(inside)[start:end])
            parts += [(text.parts, part) for part in text.due()]
            start = end
        sent.append([*parts, *((0, part) for part in text.rest())])
        assert all(len(part.encode()) <= PART for _, part in sent[-1])
    whole = [[part for _, part in one] for one in sent]
    assert whole[0] == whole[1] == whole[2]


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_a_text_is_sent_in_parts_from_one_byte_above_the_limit_on(over: int) -> None:
    text = LongText()
    text.add(memoryview(b"x" * (WHOLE - 100)))
    assert text.due() == []
    text.add(memoryview(b"x" * (100 + over)))
    parts = [*text.due(), *text.rest()]
    assert (len(parts) > 1) == (over > 0)
    assert "".join(parts) == "x" * (WHOLE + over)


def test_small_deltas_of_a_long_text_are_kept_in_one_buffer() -> None:
    text = LongText()
    for _ in range(100_000):
        text.add(memoryview(b"word "))
    assert len(text._chunks) == 1
    assert "".join(text.rest()) == "word " * 100_000


def test_large_deltas_of_a_long_text_are_not_copied() -> None:
    """All clients of one answer share the bytes of its events."""
    wire = SimpleEncoder(session="s", stream=False, now=lambda timestamp: "now")
    assert wire.events("e", ()) == []
    text, data = LongText(), b"x" * 60_000
    text.add(memoryview(data)[100:])
    (chunk,) = text._chunks
    assert isinstance(chunk, memoryview) and chunk.obj is data

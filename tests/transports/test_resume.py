"""Reconnecting: a replay of every event once and in order, or a snapshot and the reason why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest

from agentws.errors import PositionLost
from agentws.protocol.codec import Record
from agentws.protocol.position import Position, parse_position
from agentws.sessions.compaction import compact_run
from agentws.store import PAGE
from agentws.testing.agents import Gate, Script, Sleep, Step
from agentws.testing.connect import Client, Closed, kind
from tests.words import words

from .conftest import Make


async def talked(client: Client, times: int = 1) -> Client:
    """The client after a few exchanges."""
    for number in range(times):
        await client.say(f"question {number}", f"m{len(client.frames)}-{number}")
        await client.until("RUN_FINISHED")
    return client


async def test_a_client_without_a_session_gets_a_new_one(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await world.client()
        welcome = await client.receive()
        assert welcome["resume"] == "new"
        assert welcome["protocol"] == "agentws.v1"
        assert "reason" not in welcome
        assert parse_position(welcome["head"]).seq == 0
        assert len(welcome["session"]) >= 26 and welcome["session"].startswith("ses_")
        await talked(client)
        await world.check(client)


async def test_a_client_may_choose_the_id_of_a_new_session(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await world.client("session=my-own-session-id.~_1")
        welcome = await client.receive()
        assert (welcome["session"], welcome["resume"]) == ("my-own-session-id.~_1", "new")
        other = await world.join(client)
        assert (await other.receive())["resume"] == "snapshot"


async def test_a_replay_from_any_position_has_every_event_after_it_once(make: Make) -> None:
    async with make(Script(*words(8))) as world:
        first = await talked(await world.client(), 2)
        epoch, records = await world.records(first)
        for record in records:
            client = await world.join(first, f"after={epoch}.{record.seq}.{record.tag}")
            welcome = await client.receive()
            assert (welcome["resume"], welcome["head"]) == ("replay", first.position)
            client.frames.clear()
            if record.seq < records[-1].seq:
                await client.until(lambda frame: frame.get("id") == first.position)
            await client.settle()
            positions = [parse_position(frame["id"]).seq for frame in client.frames]
            assert positions == sorted(set(positions))
            assert all(seq > record.seq for seq in positions)


async def test_a_client_that_drops_after_every_frame_misses_nothing(make: Make) -> None:
    """The cable is pulled after each frame in turn, until there is nothing new."""
    async with make(Script(*words(10))) as world:
        client = await world.client()
        await client.say("go", "m1")
        while kind(client.frames[-1]) != "RUN_FINISHED":
            resume = "replay" if client.position else "snapshot"
            await world.back(client)
            assert (await client.receive())["resume"] == resume
            await client.receive()
        await world.check(client)


async def test_a_client_that_resumes_at_the_head_gets_only_new_events(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await talked(await world.client())
        await world.back(client)
        assert (await client.receive())["resume"] == "replay"
        assert await client.settle() == []
        await talked(client)
        await world.check(client)


async def test_a_client_that_joins_midway_gets_a_snapshot_and_the_run_from_its_beginning(
    make: Make,
) -> None:
    gate = Gate()
    script = Script("before", named={"go": ["one ", Sleep(0.1), "two ", gate, "three"]})
    async with make(script) as world:
        first = await talked(await world.client())
        await first.say("go", "m9")
        await gate.reached()
        other = await world.join(first)
        welcome = await other.receive()
        assert (welcome["resume"], welcome["reason"]) == ("snapshot", "no_position")
        gate.open()
        assert await other.answer() == "one two three"
        await first.until("RUN_FINISHED")
        await world.check(first, other)


async def test_a_snapshot_has_the_notices_posted_among_its_messages(make: Make) -> None:
    async with make(Script("fine")) as world:
        first = await talked(await world.client())
        assert first.session is not None
        session = world.gateway.session(first.session)
        position = await session.push("ready", level="warning", metadata={"href": "/7"})
        live = (await first.until("notice.posted"))["event"]
        other = await world.join(first)
        assert (await other.receive())["resume"] == "snapshot"
        snapshot = (await other.receive())["event"]
        (notice,) = snapshot["metadata"]["agentws"]["notices"]
        after = snapshot["messages"][-1]["id"]
        assert notice.pop("position") == position and notice.pop("after") == after
        assert notice | {"type": "notice.posted"} == live
        await world.check(first, other)


async def test_a_snapshot_has_the_queued_messages(make: Make) -> None:
    gate = Gate()
    async with make(Script(gate)) as world:
        first = await world.client()
        for number in range(3):
            await first.say(f"text {number}", f"m{number}")
        await gate.reached()
        other = await world.join(first)
        gate.open()
        while sum(kind(frame) == "RUN_FINISHED" for frame in other.frames) < 3:
            await other.receive()
        events = [event for event in other.events() if event["type"] == "message.accepted"]
        assert [event["message"]["content"] for event in events][-2:] == ["text 1", "text 2"]
        await world.check(other)


BAD_POSITIONS = {
    "epoch": lambda epoch, seq, tag: f"other.{seq}.{tag}",
    "future": lambda epoch, seq, tag: f"{epoch}.{seq + 100}.{tag}",
    "diverged": lambda epoch, seq, tag: f"{epoch}.{seq}.0000000000000000",
}


@pytest.mark.parametrize("reason", BAD_POSITIONS)
async def test_a_position_of_another_log_gets_a_snapshot_and_the_reason(
    make: Make, reason: str
) -> None:
    async with make(Script(*words(5))) as world:
        first = await talked(await world.client())
        known = parse_position(str(first.position))
        bad = BAD_POSITIONS[reason](known.epoch, known.seq, known.tag)
        client = await world.join(first, f"after={bad}")
        welcome = await client.receive()
        assert (welcome["resume"], welcome["reason"]) == ("snapshot", reason)
        assert (await client.receive())["event"]["type"] == "MESSAGES_SNAPSHOT"
        await talked(client)
        await world.check(client)


async def test_a_trimmed_position_gets_a_snapshot(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stores of this package never trim a log, so the test simulates one that does."""
    async with make(Script(*words(5)), tail_size=1) as world:
        first = await talked(await world.client(), 2)
        position = next(frame["id"] for frame in first.frames if "event" in frame)
        read = world.store.read

        async def trimmed(
            session: str, *, after: Position | None = None, limit: int = PAGE
        ) -> Sequence[Record]:
            if after is not None and str(after) == position:
                raise PositionLost("trimmed")
            return await read(session, after=after, limit=limit)

        monkeypatch.setattr(world.store, "read", trimmed)
        client = await world.join(first, f"after={position}")
        welcome = await client.receive()
        assert (welcome["resume"], welcome["reason"]) == ("snapshot", "trimmed")
        assert (await client.receive())["event"]["type"] == "MESSAGES_SNAPSHOT"


async def test_a_compacted_position_gets_a_snapshot(make: Make) -> None:
    """Within the replay window deltas are replayed; after it the client is given a snapshot."""
    async with make(Script(*words(5)), replay_window=30.0, tail_size=1) as world:
        first = await talked(await world.client())
        epoch, records = await world.records(first)
        deltas = [one for one in records if b"TEXT_MESSAGE_CONTENT" in one.data]
        middle = f"after={epoch}.{deltas[2].seq}.{deltas[2].tag}"
        client = await world.join(first, middle)
        assert (await client.receive())["resume"] == "replay"
        await _compact(world.gateways[0], first)
        client = await world.join(first, middle)
        welcome = await client.receive()
        assert (welcome["resume"], welcome["reason"]) == ("snapshot", "compacted")
        snapshot = await client.receive()
        assert snapshot["event"]["messages"][-1]["content"] == "0 1 2 3 4 "
        last = f"after={epoch}.{deltas[-1].seq}.{deltas[-1].tag}"
        client = await world.join(first, last)
        assert (await client.receive())["resume"] == "replay"


async def _compact(gateway: object, client: Client) -> None:
    sessions = gateway.sessions  # type: ignore[attr-defined]
    session = await sessions.find(client.session)
    await compact_run(session._store, session.id, first=1, last=session.head.seq)
    session.forget_tail()


UNREADABLE = ["", "x", "null", "undefined", "None", "NaN", "[object Object]", "a.b.c", "e.1.xyz"]
UNREADABLE += ["e.-1.0000000000000000", "e.1e3.", "e.01.0000000000000000", "v2:e:1:0123", "%"]
UNREADABLE += ["e.1.0000000000000000.0", "\u0000", "\ud7ff\uffff", "\n", " ", "9" * 5000]


@pytest.mark.parametrize("after", UNREADABLE)
async def test_a_position_that_can_not_be_parsed_is_lost(make: Make, after: str) -> None:
    async with make(Script("fine")) as world:
        first = await talked(await world.client())
        client = await world.join(first, f"after={quote(after)}")
        await _lost(client, "fine")
        await talked(client)
        await world.check(client)


async def test_a_truncated_position_is_lost(make: Make) -> None:
    async with make(Script("fine")) as world:
        first = await talked(await world.client())
        whole = str(first.position)
        for end in range(len(whole)):
            for after in (whole[:end], f'"{whole[:end]}"'):
                client = await world.join(first, f"after={quote(after)}")
                await _lost(client, "fine")
                client.drop()


@pytest.mark.parametrize(
    "query",
    ["after=%ff%fe", "after=%zz", "after=%", "after=x&after=%00", "after={good}&after=x", "after"],
)
async def test_an_undecodable_or_repeated_position_in_the_query_is_lost(
    make: Make, query: str
) -> None:
    async with make(Script("fine")) as world:
        first = await talked(await world.client())

        async def app(scope: Any, receive: Any, send: Any) -> None:
            asked = f"session={first.session}&{query.format(good=first.position)}".encode()
            await world.gateways[0](scope | {"query_string": asked}, receive, send)

        client = Client(app)
        await client.open()
        await _lost(client, "fine")


@pytest.mark.parametrize("after", [*UNREADABLE, "0123abcd.7.0123456789abcdef", "0123abcd.0."])
@pytest.mark.parametrize("query", ["", "session=my-own-session-id&"])
async def test_a_position_for_a_session_that_was_created_again_is_lost(
    make: Make, query: str, after: str
) -> None:
    """The client must drop what it has, so it gets a snapshot instead of ``new``."""
    async with make(Script("fine")) as world:
        client = await world.client(f"{query}after={quote(after)}")
        await _lost(client)
        await talked(client)
        await world.check(client)


async def _lost(client: Client, *said: str) -> None:
    """The client gets a snapshot with the reason ``lost``, and ``said`` as the agent's messages."""
    welcome = await client.receive()
    assert (welcome["resume"], welcome["reason"]) == ("snapshot", "lost")
    event = (await client.receive())["event"]
    assert event["type"] == "MESSAGES_SNAPSHOT"
    answers = [one["content"] for one in event["messages"] if one["role"] == "assistant"]
    assert answers == list(said)


async def test_two_clients_of_a_session_see_the_same_events(make: Make) -> None:
    async with make(Script(*words(5))) as world:
        first = await world.client()
        await first.receive()
        second = await world.join(first)
        await second.receive()
        await asyncio.gather(first.say("from one", "m1"), second.say("from two", "m2"))
        for client in (first, second):
            while sum(kind(frame) == "RUN_FINISHED" for frame in client.frames) < 2:
                await client.receive()
        await world.check(first, second)


async def test_a_position_from_before_the_store_was_lost_gets_a_snapshot(make: Make) -> None:
    """The session is created again under its id: it has another epoch."""
    async with make(Script("fine")) as world:
        client = await talked(await world.client("session=my-own-session-id"))
        lost = client.position
    async with make(Script("fine")) as world:
        client = await world.client(f"session=my-own-session-id&after={lost}")
        await _lost(client)
        other = await world.client(f"session=my-own-session-id&after={lost}")
        welcome = await other.receive()
        assert (welcome["resume"], welcome["reason"]) == ("snapshot", "epoch")
        await talked(client)
        await world.check(client)


async def test_a_long_replay_is_read_from_the_store_in_pages(make: Make) -> None:
    steps: list[Step] = []
    for number in range(1500):
        steps += [f"{number} ", Sleep(0.05)]
    async with make(Script(*steps), tail_size=2000, run_timeout=1000.0) as world:
        client = await world.client()
        await client.say("go", "m1")
        await client.until("TEXT_MESSAGE_CONTENT")
        client.drop()
        await asyncio.sleep(100)
        await world.back(client)
        await client.until("RUN_FINISHED")
        await world.check(client)


async def test_deleting_a_session_closes_its_connections(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await talked(await world.client())
        session = await world.gateways[0].sessions.find(str(client.session))
        await world.gateways[0].delete(session)
        closed = await client.wait_closed()
        assert closed.code == 4503
        for query in ("", f"after={client.position}", "after=garbage"):
            again = await world.join(client, query)
            assert (await again.wait_closed()).code == 4403


async def test_a_test_client_can_not_send_after_a_close(make: Make) -> None:
    async with make(Script("fine")) as world:
        client = await world.client("session=short")
        assert (await client.wait_closed()).code == 4400
        with pytest.raises(Closed):
            await client.send("more")

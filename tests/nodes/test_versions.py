"""A rollout: nodes and clients of this version meet what a newer one has written or sent."""

from __future__ import annotations

import asyncio
from typing import Any

from agentws.client import Chat, LogEvent
from agentws.testing import connect, kind, open_transport
from agentws.testing.agents import Script
from agentws.testing.oracle import check_client, read_log
from tests.client.fakes import FAST
from tests.http.calling import client
from tests.runs.nodes import Node, nodes

LATER: list[bytes] = [
    b'{"event":{"type":"moon.risen","phase":"full","nested":{"a":[1,null]}}}',
    b'{"run":"run_of_later","event":{"type":"hologram.shown","messageId":"h1"}}',
    b'{"event":{"type":"session.updated","title":"As of later","colour":"green"}}',
]
"""Events that this version does not know, and one with a member that it does not know."""
SIGNALS = [b"", b"?later", b"!later", b'{"kind":"later"}', b"9" * 5000, b"\xff\x00"]
"""What a newer node may publish on any channel."""


async def appended(node: Node, session: str, events: list[bytes]) -> None:
    """Appends the events as a newer node would, and rings the bell."""
    head = (await node.store.append(session, events)).position
    node.gateway.bus.publish(f"s:{session}", b"%d" % head.seq)


async def test_events_of_a_newer_node_are_passed_on_and_do_no_harm() -> None:
    async with nodes(Script("fine")) as (first, second):
        async with connect(first.app) as one:
            await one.say("hello", "m1")
            await one.answer()
            session = str(one.session)
            await appended(second, session, LATER)
            await one.until(lambda frame: kind(frame) == "session.updated")
            assert {"moon.risen", "hologram.shown"} <= {kind(frame) for frame in one.frames}
            await one.say("more", "m2")
            assert await one.answer() == "fine"
            check_client(*await read_log(second.store.store, session), one.frames, complete=True)
        async with connect(second.app, f"/ws/chat?session={session}") as late:
            assert (await late.until("welcome"))["resume"] == "snapshot"
            await late.say("again", "m3")
            assert await late.answer() == "fine"
        http = client(second.app)
        found = (await http.get(f"/sessions/{session}/messages")).json()["messages"]
        assert [one["content"] for one in found] == [
            "hello",
            "fine",
            "more",
            "fine",
            "again",
            "fine",
        ]
        assert (await http.get(f"/sessions/{session}")).status_code == 200
        assert (await http.get(f"/sessions/{session}/export")).status_code == 200


async def test_a_client_goes_on_over_events_that_it_does_not_know() -> None:
    async with nodes(Script("fine")) as (first, second):
        chat = Chat(open_transport(first.app), timing=FAST)
        updates = chat.watch()
        async with chat:
            assert await chat.ask("hello") == "fine"
            await appended(second, str(chat.session), LATER)
            async with asyncio.timeout(10):
                async for update in updates:
                    if isinstance(update, LogEvent) and update.event.__struct_config__.tag == (
                        "session.updated"
                    ):
                        break
            assert await chat.ask("more") == "fine"
            head = (await second.store.head(str(chat.session))).position
            assert chat.position == str(head)


async def test_frames_of_a_newer_client_are_refused_and_the_connection_lives() -> None:
    async with nodes(Script("fine"), 1) as (node,), connect(node.app) as one:
        refused = await one.ask({"type": "teleport", "id": "t1", "to": "the moon"})
        assert (refused["code"], refused["retryable"]) == ("bad_request", False)
        await one.say("hello", "m1", colour="green")
        assert await one.answer() == "fine"


async def test_messages_of_a_newer_node_on_the_bus_do_no_harm() -> None:
    async with nodes(Script("fine")) as (first, second), connect(first.app) as one:
        await one.ask({"type": "presence", "id": "p1", "watch": True})
        channels = [f"s:{one.session}", "broadcast", "released", f"reached:{first.gateway.node}"]
        for channel in channels:
            for payload in SIGNALS:
                second.gateway.bus.publish(channel, payload)
                await asyncio.sleep(0)
        await one.say("hello", "m1")
        assert await one.answer() == "fine"
        reached: Any = await second.gateway.broadcast("to everybody")
        assert reached == 1

"""Who is in a session: over HTTP, on request, and pushed to those who asked for changes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import Identity, LocalBus, mount_agent_gateway
from agentws.bus import Bus
from agentws.gateway.presence import ANSWERING, ASKING, GATHER, MAX_MEMBERS, WANTED
from agentws.testing.agents import Script
from agentws.testing.connect import Client, connect, running
from agentws.testing.faults import LossyBus
from tests.http.calling import Stream, client
from tests.runs.nodes import Node, memory_store

SESSION = "ses_of_several_people"
SOON = 14.0
"""Seconds within which a killed node is forgotten: less than the 15 that are promised."""
TOLD = 0.5
"""Seconds within which a change is told."""


class People:
    """Two nodes; a client says who it is in a header, and anybody may enter any session."""

    def __init__(self, bus: Bus | None = None) -> None:
        store, bus = memory_store(), bus or LocalBus()
        self.nodes = [self._node(store, bus) for _ in range(2)]

    def _node(self, store: Any, bus: Any) -> Node:
        node = Node(Script("fine"), store=store, bus=bus, changes={})
        node.app = Starlette()
        node.gateway = mount_agent_gateway(
            node.app,
            Script("fine"),
            store=node.store,
            bus=bus,
            authenticate=lambda connection: connection.headers.get("who"),
            authorize=lambda who, session, action: "mallory" != (who and who.id),
        )
        return node


def enter(node: Node, who: str) -> Any:
    return connect(node.app, f"/ws/chat?session={SESSION}", headers={"who": who})


async def read(node: Node, who: str = "ada") -> dict[str, Any]:
    response = await client(node.app, who=who).get(f"/sessions/{SESSION}/presence")
    body: dict[str, Any] = response.json()
    return body


async def ask(one: Client, *, watch: bool | None = None) -> dict[str, Any]:
    frame = {"type": "presence", "id": "p1"}
    return await one.ask(frame if watch is None else {**frame, "watch": watch})


def of(**members: int) -> list[dict[str, Any]]:
    return [{"id": id, "connections": count} for id, count in sorted(members.items())]


async def told(one: Client) -> dict[str, Any]:
    return await one.until(lambda frame: frame.get("type") == "presence", within=2 * ASKING)


async def test_the_people_on_all_nodes_are_shown() -> None:
    people = People()
    first, second = people.nodes
    async with running(first.app), running(second.app):
        async with enter(first, "ada"), enter(second, "bob"), enter(second, "bob"):
            expected = {"type": "presence", "connections": 3, "members": of(ada=1, bob=2)}
            assert await read(first) == expected
            assert await read(second) == expected
            async with enter(first, "cyd") as one:
                reply = await ask(one)
                assert reply["members"] == of(ada=1, bob=2, cyd=1) and reply["reply"] == "p1"


class LateBus(LossyBus):
    """Delivers every message a little later, as a bus between processes."""

    def publish(self, channel: str, payload: bytes) -> None:
        asyncio.get_running_loop().call_later(0.05, self.bus.publish, channel, payload)


@pytest.mark.parametrize("watch", [None, True, False])
async def test_the_first_reply_has_the_people_of_other_nodes(watch: bool | None) -> None:
    people = People(LateBus(LocalBus()))
    first, second = people.nodes
    async with running(first.app), running(second.app):
        async with enter(first, "ada") as one, enter(second, "bob"):
            assert (await ask(one, watch=watch))["members"] == of(ada=1, bob=1)


async def test_changes_on_any_node_are_told_to_those_who_asked_for_them() -> None:
    people = People()
    first, second = people.nodes
    async with running(first.app), running(second.app):
        async with enter(first, "ada") as one, enter(first, "eve") as silent:
            await ask(one, watch=True)
            begun = asyncio.get_running_loop().time()
            async with enter(second, "bob"):
                # That node had not heard of the session when it was asked about.
                assert (await told(one))["members"] == of(ada=1, bob=1, eve=1)
                assert asyncio.get_running_loop().time() - begun <= ASKING + TOLD
                begun = asyncio.get_running_loop().time()
                async with enter(second, "bob"):
                    assert (await told(one))["members"] == of(ada=1, bob=2, eve=1)
                    assert asyncio.get_running_loop().time() - begun <= TOLD
                assert (await told(one))["members"] == of(ada=1, bob=1, eve=1)
            assert (await told(one))["members"] == of(ada=1, eve=1)
            silent.drop()
            change = await told(one)
            assert (change["members"], change["connections"]) == (of(ada=1), 1)
            assert "reply" not in change
            assert not any(frame.get("type") == "presence" for frame in silent.frames)


async def test_a_client_can_stop_being_told() -> None:
    people = People()
    first, second = people.nodes
    async with running(first.app), running(second.app), enter(first, "ada") as one:
        await ask(one, watch=True)
        await ask(one, watch=False)
        async with enter(second, "bob"):
            await asyncio.sleep(3 * ASKING)
        one.take_waiting()
        assert sum(frame.get("type") == "presence" for frame in one.frames) == 2


async def test_the_people_of_a_killed_node_are_gone_within_15_seconds() -> None:
    people = People()
    first, second = people.nodes
    async with running(first.app), running(second.app), enter(first, "ada") as one:
        async with enter(second, "bob"):
            await ask(one, watch=True)
            await asyncio.sleep(ASKING + 0.5)
            begun = asyncio.get_running_loop().time()
            # It says nothing any more, to anybody.
            second.gateway.bus.publish = lambda *_: None  # type: ignore[method-assign]
            second.gateway.sessions.signal = lambda *_: None  # type: ignore[method-assign]
            change = await one.until(lambda frame: frame.get("members") == of(ada=1), within=60)
            assert asyncio.get_running_loop().time() - begun <= SOON
            assert change["connections"] == 1


class ForgetfulBus(LossyBus):
    """Loses every third message."""

    def publish(self, channel: str, payload: bytes) -> None:
        self.published += 1
        if self.published % 3:
            self.bus.publish(channel, payload)
        else:
            self.lost += 1


async def test_a_lost_message_on_the_bus_takes_nobody_away() -> None:
    bus = ForgetfulBus(LocalBus())
    people = People(bus)
    first, second = people.nodes
    async with running(first.app), running(second.app):
        async with enter(first, "ada") as one, enter(second, "bob"):
            await ask(one, watch=True)
            await asyncio.sleep(2 * ASKING)
            for _ in range(10):
                await asyncio.sleep(ASKING)
                assert (await read(first))["members"] == of(ada=1, bob=1)
            assert bus.lost > 3


async def test_only_who_may_read_a_session_sees_who_is_in_it() -> None:
    people = People()
    first, second = people.nodes
    async with running(first.app), running(second.app), enter(first, "ada"):
        http = client(first.app, who="mallory")
        known = await http.get(f"/sessions/{SESSION}/presence")
        unknown = await http.get("/sessions/ses_that_nobody_has_made/presence")
        assert known.status_code == unknown.status_code == 403
        assert known.content == unknown.content


async def test_without_identities_connections_are_counted() -> None:
    gateway = mount_agent_gateway(Starlette(), Script("fine"))
    async with running(gateway), connect(gateway, f"/ws/chat?session={SESSION}") as one:
        async with Stream(gateway, f"/sessions/{SESSION}/events"):
            assert await ask(one) == {
                "type": "presence",
                "connections": 2,
                "members": [],
                "reply": "p1",
            }


async def test_many_people_are_counted_and_the_first_hundred_named() -> None:
    people = People()
    first, second = people.nodes
    async with running(first.app), running(second.app):
        each = [Client(first.app, f"/ws/chat?session={SESSION}") for _ in range(MAX_MEMBERS + 20)]
        for number, one in enumerate(each):
            one._headers["who"] = f"user{number:03}"
            await one.open()
        found = await read(second)
        assert found["connections"] == len(each)
        assert len(found["members"]) == MAX_MEMBERS
        for one in each:
            await one.aclose()


async def test_many_changes_at_once_are_told_together() -> None:
    people = People()
    first, second = people.nodes
    async with running(first.app), running(second.app), enter(first, "ada") as one:
        await ask(one, watch=True)
        each = [Client(second.app, f"/ws/chat?session={SESSION}") for _ in range(50)]
        for other in each:
            other._headers["who"] = "bob"
        await asyncio.gather(*(other.open() for other in each))
        await one.until(lambda frame: frame.get("members") == of(ada=1, bob=50))
        assert sum(frame.get("type") == "presence" for frame in one.frames) <= 1 + 1 / GATHER
        for other in each:
            other.drop()


async def test_a_client_that_does_not_read_is_told_the_newest_later() -> None:
    people = People()
    first, second = people.nodes
    async with running(first.app), running(second.app), enter(first, "ada") as one:
        await ask(one, watch=True)
        one.pause()
        for _ in range(400):
            async with enter(second, "bob"):
                await asyncio.sleep(2 * GATHER)
        one.resume()
        await one.until(lambda frame: frame.get("members") == of(ada=1), within=60)
        assert one.closed is None


async def test_a_session_that_nobody_asks_about_costs_nothing() -> None:
    people = People()
    first, second = people.nodes
    async with running(first.app), running(second.app):
        async with enter(first, "ada") as one:
            presence = first.gateway.presence
            assert presence._timer is None
            assert first.gateway.connections.on_change is None
            await ask(one, watch=True)
            assert first.gateway.connections.on_change is not None
            assert second.gateway.presence._timer is None
            async with enter(second, "bob"):
                await asyncio.sleep(ASKING + 0.5)
                assert second.gateway.connections.on_change is not None
        await asyncio.sleep(WANTED + 2 * ASKING)
        for node in people.nodes:
            assert node.gateway.presence._timer is None
            assert node.gateway.connections.on_change is None
            assert not node.gateway.presence._watched and not node.gateway.presence._asked


async def test_the_first_request_alone_waits_for_other_nodes() -> None:
    people = People()
    first, second = people.nodes
    loop = asyncio.get_running_loop()
    async with running(first.app), running(second.app), enter(first, "ada"):
        begun = loop.time()
        await read(first)
        assert loop.time() - begun == pytest.approx(ANSWERING)
        await read(first)
        assert loop.time() - begun == pytest.approx(ANSWERING)
        async with enter(second, "bob"):
            await asyncio.sleep(WANTED + 2 * ASKING)
            begun = loop.time()
            assert (await read(first))["members"] == of(ada=1, bob=1)
            assert loop.time() - begun == pytest.approx(GATHER)


async def test_a_node_that_is_alone_waits_for_nobody() -> None:
    loop = asyncio.get_running_loop()
    alone = mount_agent_gateway(
        Starlette(), Script("fine"), authenticate=lambda connection: Identity("ada")
    )
    async with running(alone), connect(alone, f"/ws/chat?session={SESSION}") as one:
        begun = loop.time()
        assert (await ask(one))["members"] == of(ada=1)
        assert loop.time() == begun


@pytest.mark.parametrize(
    "payload", [b"", b"!", b"!{}", b'!{"node":1}', b"!\xff", b"garbage", b'!{"node":"x"}']
)
async def test_what_can_not_be_decoded_on_the_bus_is_ignored(payload: bytes) -> None:
    people = People()
    first, second = people.nodes
    async with running(first.app), running(second.app), enter(first, "ada") as one:
        await ask(one, watch=True)
        second.gateway.bus.publish(f"s:{SESSION}", payload)
        async with enter(second, "bob"):
            assert (await told(one))["members"] == of(ada=1, bob=1)

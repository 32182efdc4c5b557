"""Nodes that know each other: counts over all of them, and one name for each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.errors import Misconfigured, Unavailable
from agentws.gateway.heartbeats import BEAT, TTL, Heartbeats
from agentws.store import Node, Store
from agentws.tasks.tasks import Tasks
from agentws.testing.agents import Gate, Script
from agentws.testing.connect import connect, running
from agentws.testing.faults import FaultyStore
from tests.http.calling import client
from tests.runs.nodes import memory_store, nodes


async def stats(app: Any) -> dict[str, Any]:
    answered: dict[str, Any] = (await client(app).get("/stats")).json()
    return answered


def heartbeats(store: Store, node: str, instance: str, **counts: int) -> Heartbeats:
    return Heartbeats(store=store, node=node, instance=instance, counts=lambda: counts)


async def test_the_counts_of_all_nodes_are_summed() -> None:
    async with nodes(Script("fine"), 3) as (first, second, third):
        assert (await stats(first.app))["cluster"]["nodes"] == 3
        async with connect(second.app), connect(second.app), connect(third.app):
            await asyncio.sleep(BEAT + 0.1)
            counted = await stats(first.app)
            assert counted["total_connections"] == 0
            assert counted["cluster"]["total_connections"] == 3
            assert counted["cluster"]["active_sessions"] == 3
            assert set(counted["cluster"]) == {"nodes", *counted.keys()} - {"draining", "cluster"}


async def test_a_node_counts_itself_as_it_is_now() -> None:
    async with nodes(Script(Gate()), 2) as (first, _):
        async with connect(first.app) as one:
            await one.say("hello", "m1")
            assert (await stats(first.app))["cluster"]["total_connections"] == 1


async def test_the_counts_are_correct_15_seconds_after_a_node_was_killed() -> None:
    """The other node never says goodbye."""
    async with nodes(Script("fine"), 2) as (first, second), connect(second.app):
        await asyncio.sleep(BEAT + 0.1)
        assert (await stats(first.app))["cluster"]["total_connections"] == 1
        second.freeze()
        await asyncio.sleep(TTL)
        cluster = (await stats(first.app))["cluster"]
        assert (cluster["nodes"], cluster["total_connections"]) == (1, 0)
        second.thaw()
        await asyncio.sleep(BEAT + 0.1)
        assert (await stats(first.app))["cluster"]["nodes"] == 2


async def test_a_node_that_stops_is_forgotten_at_once() -> None:
    store = memory_store()
    first, second = (mount_agent_gateway(Starlette(), Script(), store=store) for _ in range(2))
    async with running(first):
        async with running(second):
            assert (await stats(first))["cluster"]["nodes"] == 2
        assert (await stats(first))["cluster"]["nodes"] == 1


async def test_a_store_that_does_not_know_its_nodes_gives_no_counts_of_them() -> None:
    class Plain(FaultyStore):
        beat = Store.beat
        nodes = Store.nodes
        leave = Store.leave

    gateway = mount_agent_gateway(Starlette(), Script(), store=Plain(memory_store()))
    async with running(gateway):
        assert "cluster" not in await stats(gateway)


async def test_a_store_that_fails_stops_no_heartbeats(caplog: pytest.LogCaptureFixture) -> None:
    store = FaultyStore(memory_store())
    store.fail({"beat", "nodes", "leave"})
    gateway = mount_agent_gateway(Starlette(), Script(), store=store)
    async with running(gateway):
        assert "cluster" not in await stats(gateway)
        await asyncio.sleep(10 * BEAT)
        said = [one for one in caplog.messages if "heartbeat" in one]
        assert len(said) == 1, "an outage is logged once"
        store.heal()
        await asyncio.sleep(BEAT + 0.1)
        assert len(await store.nodes()) == 1
        store.fail({"beat", "leave"}, error=RuntimeError)
        await asyncio.sleep(BEAT + 0.1)
        assert store.calls["beat"] > 10
        store.fail("leave")


async def test_a_heartbeat_of_another_version_counts_as_a_node() -> None:
    store = memory_store()
    here = heartbeats(store, "here", "i", total_connections=2)
    await store.beat("later", instance="x", data=b"\xff not json", ttl=60)
    await store.beat("fewer", instance="x", data=b'{"number": 1, "counts": {"new": 1}}', ttl=60)
    assert await here.cluster() == {"nodes": 3, "total_connections": 2}


# The name of a node


async def test_a_second_live_process_with_the_same_name_does_not_start() -> None:
    store = memory_store()
    app, other = Starlette(), Starlette()
    mount_agent_gateway(app, Script("fine"), store=store, node="web-1")
    second = mount_agent_gateway(other, Script("fine"), store=store, node="web-1")
    async with running(app):
        with pytest.raises(AssertionError, match="agentws can't start: Another process is the"):
            async with running(other, within=60):
                pass
        assert not second.started
        async with connect(app) as one:
            await one.say("hello", "m1")
            assert await one.answer() == "fine"


async def test_a_process_that_is_started_again_takes_the_name_of_its_dead_predecessor() -> None:
    store, tasks = memory_store(), Tasks()
    await heartbeats(store, "web-1", "killed").begin(tasks)
    await tasks.aclose(grace=1.0)
    again = heartbeats(store, "web-1", "next")
    before = asyncio.get_running_loop().time()
    await again.begin(tasks)
    assert asyncio.get_running_loop().time() - before <= TTL + 1
    await tasks.aclose(grace=1.0)


async def test_an_entry_that_expires_while_it_is_looked_at_keeps_nobody_from_starting() -> None:
    class Expiring(FaultyStore):
        async def nodes(self) -> Sequence[Node]:
            """The entry of the dead process is there at first, and gone the next time."""
            found = await super().nodes()
            await asyncio.sleep(TTL if self.calls["nodes"] == 2 else 0)
            return found if self.calls["nodes"] == 1 else await super().nodes()

    store, tasks = Expiring(memory_store()), Tasks()
    await store.beat("web-1", instance="killed", data=b"x", ttl=TTL)
    await heartbeats(store, "web-1", "next").begin(tasks)
    await tasks.aclose(grace=1.0)


async def test_two_processes_that_start_together_do_not_share_a_name() -> None:
    store, tasks = memory_store(), Tasks()
    begun = await asyncio.gather(
        *(heartbeats(store, "web-1", f"i{n}").begin(tasks) for n in range(3)),
        return_exceptions=True,
    )
    assert sorted(type(one) is Misconfigured for one in begun) == [False, True, True]
    await tasks.aclose(grace=1.0)


async def test_nodes_of_one_name_never_share_a_lease() -> None:
    """One that was frozen for longer than its name was kept may wake up."""
    first, second = (
        mount_agent_gateway(Starlette(), Script(), store=memory_store(), node="web-1")
        for _ in range(2)
    )
    assert first.node == second.node == "web-1"
    assert first.instance != second.instance
    assert first.runs.renewal.node == first.instance


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "ö", "web\n1", 7])
def test_a_name_that_is_not_plain_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="the node is .*; expected 1 to 64 of A-Z a-z 0-9"):
        mount_agent_gateway(Starlette(), Script(), node=name)


async def test_a_node_starts_when_its_store_can_not_tell_who_has_its_name() -> None:
    store = FaultyStore(memory_store())
    store.fail("beat", error=Unavailable, times=1)
    gateway = mount_agent_gateway(Starlette(), Script(), store=store, node="web-1")
    async with running(gateway):
        assert gateway.started
        await asyncio.sleep(BEAT + 0.1)
        assert [one.id for one in await store.nodes()] == ["web-1"]

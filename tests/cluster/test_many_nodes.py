"""One session on several nodes: viewers, stops and owners on different ones, and foreign data."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Final

import msgspec

from agentws.backends.local import LocalBus
from agentws.bus import Bus
from agentws.testing.connect import kind
from agentws.testing.history import ClientHistory
from tests.cluster.checks import check
from tests.cluster.clients import WITHIN, Native, chat
from tests.cluster.nodes import Cluster
from tests.cluster.running import begin
from tests.cluster.urls import store_at
from tests.cluster.vitals import BUSY

LATER: Final = 0.05
"""Seconds, at the 95th percentile, that a node adds to what comes from another one."""
STOPPED: Final = 1.0
"""Seconds from a stop, at any node, to the end of the run."""


async def test_a_session_is_opened_run_and_viewed_on_three_nodes(
    cluster: Cluster, session: str
) -> None:
    opener, sender, viewer = (Native(session, name) for name in ("opener", "sender", "viewer"))
    async with opener.at(cluster["a"].host), sender.at(cluster["b"].host):
        async with viewer.at(cluster["c"].host):
            await sender.say("m1", "count 20")
            await asyncio.gather(*(one.until_ended("m1") for one in (opener, sender, viewer)))
    await check(cluster, session, opener, sender, viewer)


async def test_a_viewer_on_another_node_sees_an_answer_about_as_soon_as_one_on_its_own(
    cluster: Cluster, session: str
) -> None:
    near, far = Native(session, "near"), Native(session, "far")
    owner = await begin(cluster, near, "count 60")
    other = cluster.other_than(owner)
    async with near.at(owner.host), far.at(other.host):
        seen = await asyncio.gather(arrivals(near), arrivals(far))
    late = sorted(seen[1][id] - seen[0][id] for id in seen[0].keys() & seen[1].keys())
    assert len(late) > 20
    assert late[len(late) * 95 // 100] < LATER * BUSY, late
    await check(cluster, session, near, far)


async def arrivals(client: Native) -> dict[str, float]:
    """When each piece of the answer to ``m1`` arrived, by its position."""
    found: dict[str, float] = {}
    async with asyncio.timeout(WITHIN):
        while kind(frame := await client.receive()) != "RUN_FINISHED":
            if kind(frame) == "TEXT_MESSAGE_CONTENT":
                found[frame["id"]] = time.monotonic()
    return found


async def test_a_run_is_stopped_from_a_node_that_does_not_run_it(
    cluster: Cluster, session: str
) -> None:
    asker, stopper = Native(session, "asker"), Native(session, "stopper")
    async with asker.at(cluster["a"].host), stopper.at(cluster["c"].host):
        await asker.say("m1", "count 1000")
        await stopper.until("TEXT_MESSAGE_CONTENT")
        asked = time.monotonic()
        await stopper.send(type="cancel", id="c1")
        assert (await stopper.reply("c1"))["type"] == "accepted"
        ended = await asker.until_ended("m1")
        assert ended["event"]["outcome"]["type"] == "cancelled"
        assert time.monotonic() - asked < STOPPED * BUSY
    await check(cluster, session, asker, stopper)


async def test_what_is_cancelled_while_its_node_is_dead_never_runs(
    cluster: Cluster, session: str
) -> None:
    client = Native(session)
    killed = await begin(cluster, client, "count 1000")
    async with client.at(killed.host):
        await client.say("m2", "count 1000")
        await client.say("m3", "hello")
        killed.kill()
        await client.until_gone()
    node = cluster.other_than(killed)
    async with client.at(node.host):
        await client.send(type="cancel", id="c1", message="m2")
        assert (await client.reply("c1"))["type"] == "accepted"
        await client.until_ended("m3")
    kinds = await check(cluster, session, client, at=node.name)
    assert kinds.count("RUN_STARTED") == 2
    assert kinds.count("message.withdrawn") == 1


async def test_owners_that_replace_each_other_never_write_into_the_same_run(
    cluster: Cluster, session: str
) -> None:
    """A node is frozen until another one has its session, and wakes up while that one runs it."""
    viewer = Native(session, "viewer")
    for turn in range(3):
        async with (asker := Native(session)).at(cluster["abc"[turn]].host):
            await asker.say(f"m{turn}", "count 25")
            piece = (await asker.until("TEXT_MESSAGE_CONTENT"))["event"]["delta"]
        owner = cluster[piece[0]]
        async with viewer.at(cluster.other_than(owner).host):
            owner.freeze()
            ended = await viewer.until_ended(f"m{turn}")
            assert ended["event"]["code"] == "interrupted"
            owner.thaw()
    async with viewer.at(cluster["c"].host):
        await viewer.say("last", "hello")
        await viewer.until_ended("last")
    kinds = await check(cluster, session, viewer)
    assert kinds.count("RUN_ERROR") == 3


async def test_events_that_this_version_does_not_know_are_skipped(
    cluster: Cluster, session: str
) -> None:
    """As newer nodes write them during a rolling upgrade, before a run and in the middle of one."""
    history, native = ClientHistory("python"), Native(session)
    async with chat(cluster["a"].chat, session, history) as one, native.at(cluster["b"].host):
        await append(cluster, session, {"event": {"type": "session.tinted", "colour": "blue"}})
        turn = one.send("count 40")
        started = await native.until("RUN_STARTED")
        unknown = {"type": "TINTED", "colour": "red"}
        await append(cluster, session, {"run": started["run"], "event": unknown})
        async with asyncio.timeout(WITHIN):
            assert (await turn.text()).endswith("39 ")
        await asyncio.to_thread(restart, cluster)
        async with asyncio.timeout(WITHIN):
            assert await one.ask("hello")
    cold = Native(session, "cold")
    async with cold.at(cluster["c"].host):
        await cold.until("MESSAGES_SNAPSHOT")


def restart(cluster: Cluster) -> None:
    """A node that reads the log from the store, not from memory."""
    cluster["a"].kill()
    cluster.restore()


async def append(cluster: Cluster, session: str, body: object) -> None:
    store = store_at(cluster.store)
    await store.open()
    try:
        await store.append(session, [msgspec.json.encode(body)], commutes=True)
    finally:
        await store.close()


async def test_garbage_on_the_bus_and_in_a_log_harms_no_other_session(
    cluster: Cluster, session: str
) -> None:
    """Whoever can write to the store can break a session, and nothing else."""
    client, victim = Native(session), Native(f"a-victim-{secrets.token_hex(8)}", "victim")
    async with client.at(cluster["a"].host), victim.at(cluster["a"].host):
        await victim.say("m1", "hello")
        await client.say("m1", "count 30")
        await shout(cluster, session)
        store = store_at(cluster.store)
        await store.open()
        await store.append(victim.session, [b'{"event":{"type":"RUN_STARTED","runId":\x80\xff}}'])
        await store.close()
        await client.until_ended("m1")
        await client.say("m2", "hello")
        await client.until_ended("m2")
    await check(cluster, session, client)
    assert all(node.running for node in cluster.nodes)
    await delete(cluster, victim.session)


async def delete(cluster: Cluster, session: str) -> None:
    """Nodes would try it again, and say so, as long as it is there."""
    store = store_at(cluster.store)
    await store.open()
    await store.delete(session)
    await store.close()


async def shout(cluster: Cluster, session: str) -> None:
    """Publishes what no node ever publishes, on the channels that nodes listen to."""
    store = store_at(cluster.store)
    await store.open()
    bus: Bus = store.default_bus() or LocalBus()
    await bus.open()
    for channel in (f"s:{session}", "broadcast", "nothing"):
        for payload in (b"", b"\xff" * 100, b"-1", b"9" * 5000, b'{"seq":', b"\x80\x04."):
            bus.publish(channel, payload)
    await asyncio.sleep(0)
    await bus.close()
    await store.close()

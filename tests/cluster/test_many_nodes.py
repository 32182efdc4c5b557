"""One session on several nodes: viewers, stops and owners on different ones, and foreign data."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Final

import msgspec

from agentws.backends.local import LocalBus
from agentws.bus import Bus
from agentws.testing.history import ClientHistory
from tests.cluster.checks import check
from tests.cluster.clients import WITHIN, Native, chat
from tests.cluster.nodes import Cluster, Node
from tests.cluster.running import begin
from tests.cluster.urls import store_at

NEVER: Final = 3600.0
"""Seconds between two polls of a node: what arrives there was rung for."""
PIECES: Final = 30


async def test_a_session_is_opened_run_and_viewed_on_three_nodes(
    cluster: Cluster, session: str
) -> None:
    opener, sender, viewer = (Native(session, name) for name in ("opener", "sender", "viewer"))
    async with opener.at(cluster["a"].host), sender.at(cluster["b"].host):
        async with viewer.at(cluster["c"].host):
            await sender.say("m1", "count 20")
            await asyncio.gather(*(one.until_ended("m1") for one in (opener, sender, viewer)))
    await check(cluster, session, opener, sender, viewer)


async def test_a_run_is_viewed_and_stopped_at_a_node_that_does_not_run_it_without_a_poll(
    cluster: Cluster, session: str, tmp_path: Path
) -> None:
    """Each piece is written when the viewers at both nodes have seen the one before it."""
    near, far = Native(session, "near"), Native(session, "far")
    file = tmp_path / "seen"
    with (
        file.open("wb", buffering=0) as seen,
        Node("d", cluster.store, tmp_path, poll=NEVER) as one,
        Node("e", cluster.store, tmp_path, poll=NEVER) as other,
    ):
        async with near.at(one.host), far.at(other.host):
            await near.say("m1", f"step {file}")
            await near.first_piece()
            await far.first_piece()
            for _ in range(PIECES):
                seen.write(b".")
                await near.until("TEXT_MESSAGE_CONTENT")
                await far.until("TEXT_MESSAGE_CONTENT")
            await far.send(type="cancel", id="c1")
            assert (await far.reply("c1"))["type"] == "accepted"
            for viewer in (near, far):
                ended = await viewer.until_ended("m1")
                assert ended["event"]["outcome"]["type"] == "cancelled"
    await check(cluster, session, near, far)


async def test_what_is_cancelled_while_its_node_is_dead_never_runs(
    cluster: Cluster, session: str
) -> None:
    client = Native(session)
    killed = await begin(cluster, client, "count 1000")
    node = cluster.other_than(killed)
    stopper = Native(session, "stopper")
    # Connected before, as another node takes over when the lease has expired.
    async with client.at(killed.host), stopper.at(node.host):
        await client.say("m2", "count 1000")
        await client.say("m3", "hello")
        killed.kill()
        await stopper.send(type="cancel", id="c1", message="m2")
        assert (await stopper.reply("c1"))["type"] == "accepted"
        await client.until_gone()
        await stopper.until_ended("m3")
    kinds = await check(cluster, session, client, stopper, at=node.name)
    assert kinds.count("RUN_STARTED") == 2
    assert kinds.count("message.withdrawn") == 1


async def test_owners_that_replace_each_other_never_write_into_the_same_run(
    cluster: Cluster, session: str
) -> None:
    """A node is frozen until another one has its session, and wakes up while that one runs it."""
    viewer = Native(session, "viewer")
    for turn in range(3):
        async with (asker := Native(session)).at(cluster["abc"[turn]].host):
            await asker.say(f"m{turn}", "count 1000")
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

"""Killed, stopped and frozen nodes: no message is lost, and every run ends once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from agentws.testing.proxy import FaultProxy
from tests.cluster.checks import check
from tests.cluster.clients import WITHIN, Native
from tests.cluster.nodes import Cluster, Node
from tests.cluster.running import begin
from tests.cluster.stores import WITH_SERVER


@pytest.mark.parametrize("then", ["the same", "another"])
async def test_the_client_of_a_killed_node_resumes_and_learns_that_its_run_was_interrupted(
    cluster: Cluster, session: str, then: str
) -> None:
    """On the same node, restarted, and on another one."""
    client = Native(session)
    killed = await begin(cluster, client, "count 1000")
    async with client.at(killed.host):
        await client.until("TEXT_MESSAGE_CONTENT")
        killed.kill()
        await client.until_gone()
    node = killed if then == "the same" else cluster.other_than(killed)
    await asyncio.to_thread(node.restore)
    async with client.at(node.host):
        assert (await client.until("welcome"))["resume"] == "replay"
        assert (await client.until("RUN_ERROR"))["event"]["code"] == "interrupted"
        assert (await client.say("m1", "count 1000"))["duplicate"] is True
        await client.say("m2", "hello")
        await client.until_ended("m2")
    kinds = await check(cluster, session, client, at=node.name)
    assert kinds.count("RUN_STARTED") == 2


async def test_an_agent_that_allows_it_runs_again_when_its_node_was_killed(
    cluster: Cluster, session: str
) -> None:
    client = Native(session)
    killed = await begin(cluster, client, "stuck", agent="persistent")
    async with client.at(killed.host):
        killed.kill()
        await client.until_gone()
    node = cluster.other_than(killed)
    async with client.at(node.host):
        ended = await client.until_ended("m1")
        assert ended["event"]["type"] == "RUN_FINISHED"
    kinds = await check(cluster, session, client, at=node.name)
    assert kinds.count("RUN_STARTED") == 2


async def test_an_agent_that_allows_it_runs_again_when_its_node_is_stopped(
    cluster: Cluster, session: str
) -> None:
    """The node drains, and its run takes longer than that."""
    client = Native(session)
    stopped = await begin(cluster, client, "stuck", agent="persistent")
    async with client.at(stopped.host):
        await asyncio.to_thread(stopped.stop)
        await client.until_gone()
    node = cluster.other_than(stopped)
    async with client.at(node.host):
        ended = await client.until_ended("m1")
        assert ended["event"]["type"] == "RUN_FINISHED"
    kinds = await check(cluster, session, client, at=node.name)
    assert kinds.count("RUN_STARTED") == 2
    assert kinds.count("RUN_ERROR") == 1


async def test_a_message_whose_acknowledgement_was_lost_with_its_node_is_accepted_once(
    cluster: Cluster, session: str
) -> None:
    client = Native(session)
    async with FaultProxy(cluster["a"].port) as proxy:
        async with client.at(proxy.host):
            await client.until("welcome")
            proxy.blackhole("down")
            await client.send(type="send", id="m1", content="hello")
            await in_log(cluster, session, "message.accepted")
            cluster["a"].kill()
            proxy.cut()
            await client.until_gone()
    async with client.at(cluster["b"].host):
        reply = await client.say("m1", "hello")
        assert reply["duplicate"] is True
    kinds = await check(cluster, session, client)
    assert kinds.count("message.accepted") == 1


async def test_messages_that_were_acknowledged_before_their_node_died_are_answered(
    cluster: Cluster, session: str
) -> None:
    """The first one's run has written nothing yet, and the second one waits for it."""
    client = Native(session)
    async with client.at(cluster["a"].host):
        await client.say("m1", "think 1")
        await client.say("m2", "hello")
        cluster["a"].kill()
        await client.until_gone()
    async with client.at(cluster["b"].host):
        await client.until_ended("m2")
    await check(cluster, session, client)


async def test_a_node_with_a_reader_that_is_stuck_ends_on_time(
    cluster: Cluster, session: str
) -> None:
    stuck, client = Native(session, "stuck"), Native(session)
    async with FaultProxy(cluster["a"].port) as proxy, client.at(cluster["a"].host):
        async with stuck.at(proxy.host):
            await stuck.until("welcome")
            proxy.blackhole()
            await client.say("m1", "big 3000")
            await client.until("TEXT_MESSAGE_CONTENT")
            begun = time.monotonic()
            await asyncio.to_thread(cluster["a"].stop)
            assert time.monotonic() - begun < 20
            await client.until_gone()
    await check(cluster, session, client, stuck)


async def test_a_node_that_wakes_up_after_its_lease_writes_nothing(
    cluster: Cluster, session: str
) -> None:
    client, late = Native(session), Native(session, "at the frozen node")
    frozen = await begin(cluster, late, "count 1000")
    async with late.at(frozen.host), client.at(cluster.other_than(frozen).host):
        await client.until("TEXT_MESSAGE_CONTENT")
        frozen.freeze()
        assert (await client.until("RUN_ERROR"))["event"]["code"] == "interrupted"
        await client.say("m2", "count 20")
        frozen.thaw()
        await client.until_ended("m2")
        await late.until_ended("m2")
    kinds = await check(cluster, session, client, late)
    assert kinds.count("RUN_STARTED") == 2


@pytest.mark.parametrize("started", WITH_SERVER, indirect=True)
async def test_nodes_whose_clocks_are_wrong_take_no_lease_early(
    cluster: Cluster, session: str, tmp_path: Path
) -> None:
    """Leases expire by the clock of the store's server."""
    client, elsewhere = Native(session), Native(session, "at a skewed node")
    with (
        Node("d", cluster.store, tmp_path, skew=3600) as ahead,
        Node("e", cluster.store, tmp_path, skew=-3600) as behind,
    ):
        async with client.at(behind.host), elsewhere.at(ahead.host):
            await client.say("m1", "count 80")
            await elsewhere.say("m2", "hello")
            ended, _ = await asyncio.gather(client.until_ended("m1"), elsewhere.until_ended("m2"))
            assert ended["event"]["type"] == "RUN_FINISHED"
    await check(cluster, session, client, elsewhere)


async def in_log(cluster: Cluster, session: str, kind: str) -> None:
    """Returns once an event of that kind is in the log."""
    async with asyncio.timeout(WITHIN):
        while True:
            _, records = await cluster.log(session)
            if any(kind.encode() in record.data for record in records):
                return
            await asyncio.sleep(0.02)

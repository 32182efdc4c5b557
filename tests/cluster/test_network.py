"""Bad networks between clients and nodes: silence, resets, slow readers, flapping connections."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from agentws.protocol.fold import Fold
from agentws.testing.history import ClientHistory
from agentws.testing.proxy import FaultProxy
from tests.cluster.checks import check, settled_log, until
from tests.cluster.clients import WITHIN, Native, chat
from tests.cluster.nodes import Cluster, Node

MEBIBYTE = 1024 * 1024
CLIENTS = 120
"""Clients that lose their connections at once. More are in the benchmark of returning clients."""


async def until_connected(node: Node, count: int) -> None:
    """Returns once the node has this many connections."""
    await until(lambda: node.stats()["total_connections"] == count)


async def test_a_client_that_vanished_without_a_close_is_dropped(
    cluster: Cluster, session: str
) -> None:
    client, node = Native(session), cluster["a"]
    async with FaultProxy(node.port) as proxy, client.at(proxy.host):
        await client.until("welcome")
        await until_connected(node, 1)
        proxy.blackhole()
        await until_connected(node, 0)


async def test_a_run_goes_on_when_its_client_vanishes_in_the_middle(
    cluster: Cluster, session: str
) -> None:
    client, node = Native(session), cluster["a"]
    async with FaultProxy(node.port) as proxy:
        async with client.at(proxy.host):
            await client.say("m1", "count 150")
            await client.until("TEXT_MESSAGE_CONTENT")
            proxy.blackhole()
            await until_connected(node, 0)
            proxy.cut()
        proxy.heal()
        async with client.at(proxy.host):
            assert (await client.until("welcome"))["resume"] == "replay"
            await client.until("RUN_FINISHED")
    await check(cluster, session, client)


async def test_a_client_notices_a_half_open_connection_and_resumes(
    cluster: Cluster, session: str
) -> None:
    history = ClientHistory("python")
    async with FaultProxy(cluster["a"].port) as proxy:
        async with chat(f"ws://{proxy.host}/ws/chat", session, history) as one:
            turn = one.send("count 40")
            await anext(aiter(turn))
            proxy.half_open()
            async with asyncio.timeout(WITHIN):
                assert (await turn.text()).endswith(": 39 ")
            # It may have lost another one, where an answer to its ping took too long.
            assert proxy.accepted >= 2
    await check(cluster, session, history)


async def test_readers_that_are_stuck_cost_bounded_memory_and_delay_nobody(
    cluster: Cluster, session: str
) -> None:
    """Twenty of them while 6 MB are written. Then each resumes, and gets what it missed."""
    stuck = [Native(session, f"stuck {number}") for number in range(20)]
    reader, node = Native(session, "reader"), cluster["a"]
    async with FaultProxy(node.port) as proxy, AsyncExitStack() as opened:
        for one in stuck:
            await opened.enter_async_context(one.at(proxy.host))
            await one.until("welcome")
        await opened.enter_async_context(reader.at(node.host))
        proxy.blackhole()
        before = node.resident()
        await reader.say("m1", "big 6000")
        peak = 0
        while (await reader.receive()).get("event", {}).get("type") != "RUN_FINISHED":
            peak = max(peak, node.resident())
        assert peak - before < 60 * MEBIBYTE, f"{(peak - before) / MEBIBYTE:.0f} MiB"
        await until_connected(node, 1)
        proxy.cut()
    await check(cluster, session, reader, *stuck[:3])


async def test_a_reader_that_is_slower_than_the_answer_gets_everything_in_the_end(
    cluster: Cluster, session: str
) -> None:
    slow, reader, node = Native(session, "slow"), Native(session, "reader"), cluster["a"]
    async with FaultProxy(node.port) as proxy, reader.at(node.host):
        async with slow.at(proxy.host):
            await slow.until("welcome")
            proxy.rate = 20_000
            await reader.say("m1", "big 1000")
            await reader.until_ended("m1")
            await slow.until("TEXT_MESSAGE_CONTENT")
            assert slow.history.seen[-1].seq < reader.history.seen[-1].seq
    await check(cluster, session, reader, slow)


@pytest.mark.timeout(180)
async def test_clients_that_lose_their_connections_at_once_all_resume(
    cluster: Cluster, session: str
) -> None:
    histories = [ClientHistory(f"client {number}") for number in range(CLIENTS)]
    async with AsyncExitStack() as opened:
        proxies = [
            await opened.enter_async_context(FaultProxy(node.port)) for node in cluster.nodes
        ]
        chats = [
            await opened.enter_async_context(
                chat(f"ws://{proxies[number % 3].host}/ws/chat", session, history)
            )
            for number, history in enumerate(histories)
        ]
        turn = chats[0].send("count 100")
        await anext(aiter(turn))
        await until(lambda: all(one.position for one in chats))
        for proxy in proxies:
            proxy.reset()
        async with asyncio.timeout(WITHIN):
            await turn.text()
            epoch, records = await settled_log(cluster, session)
            head = f"{epoch}.{records[-1].seq}.{records[-1].tag}"
            await until(lambda: all(one.position == head for one in chats))
        assert all(proxy.accepted >= 2 * CLIENTS // 3 for proxy in proxies)
    await check(cluster, session, *histories)


async def test_a_flapping_client_gets_every_event_once(cluster: Cluster, session: str) -> None:
    client = Native(session)
    async with FaultProxy(cluster["a"].port) as proxy:
        async with client.at(proxy.host):
            await client.say("m1", "count 40")
        for flap in range(15):
            async with client.at(proxy.host):
                await client.receive()
                if flap % 2:
                    proxy.reset()
                else:
                    proxy.cut()
        await until_connected(cluster["a"], 0)
    await check(cluster, session, client)


async def test_two_tabs_on_two_nodes_see_the_same_and_share_their_messages(
    cluster: Cluster, session: str
) -> None:
    one, two = Native(session, "one"), Native(session, "two")
    async with one.at(cluster["a"].host), two.at(cluster["b"].host):
        first, second = await asyncio.gather(one.say("m1", "count 5"), two.say("m1", "count 5"))
        assert first["position"] == second["position"]
        assert sorted(reply.get("duplicate", False) for reply in (first, second)) == [False, True]
        await two.say("m2", "hello")
        await asyncio.gather(one.until_ended("m2"), two.until_ended("m2"))
    kinds = await check(cluster, session, one, two)
    assert kinds.count("RUN_STARTED") == 2


async def test_frames_may_arrive_byte_by_byte(cluster: Cluster, session: str) -> None:
    split, whole = Native(session, "split"), Native(session, "whole")
    async with FaultProxy(cluster["a"].port) as proxy:
        proxy.chunk = 1
        async with split.at(proxy.host), whole.at(cluster["a"].host):
            await split.say("m1", "count 10")
            await asyncio.gather(split.until_ended("m1"), whole.until_ended("m1"))
    await check(cluster, session, split, whole)
    assert Fold().apply_all((await cluster.log(session))[1]).messages


async def test_a_reset_in_the_middle_of_a_frame_is_not_an_error_of_the_server(
    cluster: Cluster, session: str
) -> None:
    async with opened(cluster["a"], session) as (reader, writer):
        writer.write(masked(0x1, b'{"type":"send","id":"m1","content":"hello"}')[:20])
        await writer.drain()
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        writer.transport.abort()
    await until_connected(cluster["a"], 0)
    assert "ERROR" not in cluster["a"].output
    _, records = await cluster.log(session)
    assert records == []


async def test_what_a_client_sends_after_its_close_is_ignored(
    cluster: Cluster, session: str
) -> None:
    async with opened(cluster["a"], session) as (reader, writer):
        late = masked(0x1, b'{"type":"send","id":"m1","content":"hello"}')
        writer.write(masked(0x8, struct.pack("!H", 1000)) + late)
        async with asyncio.timeout(WITHIN):
            await reader.read()
    await until_connected(cluster["a"], 0)
    _, records = await cluster.log(session)
    assert records == []


@asynccontextmanager
async def opened(
    node: Node, session: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A WebSocket whose frames the test writes itself, after its handshake and welcome."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    head = (
        f"GET /ws/chat?session={session} HTTP/1.1\r\nHost: {node.host}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Protocol: agentws.v1\r\n\r\n"
    )
    writer.write(head.encode())
    try:
        async with asyncio.timeout(WITHIN):
            assert b" 101 " in await reader.readline()
            await reader.readuntil(b'"welcome"')
        yield reader, writer
    finally:
        writer.transport.abort()


def masked(opcode: int, payload: bytes) -> bytes:
    """A client's frame, of less than 126 bytes."""
    key = os.urandom(4)
    body = bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
    return bytes((0x80 | opcode, 0x80 | len(payload))) + key + body

"""Slow consumers: backpressure, merged deltas, bounded memory, and no effect on other clients."""

from __future__ import annotations

import asyncio
import itertools

import msgspec
import pytest

from agentws.testing.agents import Gate, Script
from agentws.testing.connect import kind
from tests.words import words

from .conftest import Make


async def test_a_slow_consumer_gets_fewer_merged_deltas_later(make: Make) -> None:
    async with make(Script(*words(200)), run_timeout=1000.0) as world:
        fast, slow = await world.client(), None
        await fast.until("welcome")
        slow = await world.join(fast)
        await slow.until("welcome")
        slow.pause()
        await fast.say("go", "m1")
        await fast.until("RUN_FINISHED", within=60)
        assert slow.line.waiting() == []
        slow.resume()
        await slow.until("RUN_FINISHED")
        await world.check(fast, slow)
        counts = [
            sum(event["type"] == "TEXT_MESSAGE_CONTENT" for event in one.events())
            for one in (fast, slow)
        ]
        assert counts[0] > 100
        assert counts[1] < 10


async def test_a_client_that_reads_now_and_then_misses_nothing(make: Make) -> None:
    async with make(Script(*words(100)), run_timeout=1000.0, tail_size=500) as world:
        client = await world.client()
        await client.say("go", "m1")
        for turn in itertools.count():
            await client.settle()
            if client.frames and kind(client.frames[-1]) == "RUN_FINISHED":
                break
            client.pause() if turn % 2 else client.resume()
            await asyncio.sleep(0.37)
            client.resume()
        await world.check(client)


async def test_a_client_that_never_reads_holds_one_message_in_memory(make: Make) -> None:
    """A connection keeps a position in the log, and no backlog of events."""
    async with make(Script(*words(3000, 0.001)), tail_size=1000) as world:
        fast = await world.client()
        await fast.until("welcome")
        slow = await world.join(fast)
        await slow.settle()
        slow.pause()
        await fast.say("go", "m1")
        await fast.until("RUN_FINISHED", within=60)
        assert slow.line.blocked == 1
        (session,) = list(world.gateways[-1].sessions)
        old = msgspec.structs.replace(session.head, seq=session.head.seq - 100)
        assert session.tail_after(old) is None, "more is kept in memory than the tail may be"
        slow.resume()
        await slow.until("RUN_FINISHED")
        await world.check(fast, slow)


async def test_a_client_that_reads_no_replies_is_closed(make: Make) -> None:
    """Replies are in no log and wait in memory, so their number is bounded."""
    async with make(Script("fine")) as world:
        client = await world.client()
        await client.until("welcome")
        client.pause()
        for number in range(1000):
            await client.send({"type": "ping", "id": str(number)})
            await asyncio.sleep(0)
        await asyncio.sleep(1)
        client.resume()
        assert (await client.wait_closed()).code == 4429
        assert len(client.frames) < 400


async def test_a_slow_consumer_does_not_delay_the_others(make: Make) -> None:
    gate = Gate()
    async with make(Script(gate, "fine")) as world:
        first = await world.client()
        await first.until("welcome")
        others = [await world.join(first) for _ in range(5)]
        for other in others:
            await other.until("welcome")
            other.pause()
        await first.say("go", "m1")
        gate.open()
        await first.until("RUN_FINISHED", within=1)
        for other in others:
            other.resume()
            await other.until("RUN_FINISHED")
        await world.check(first, *others)


@pytest.mark.parametrize("paused", [False, True], ids=["reading", "not reading"])
async def test_a_client_that_leaves_during_a_long_replay_is_removed(
    make: Make, paused: bool
) -> None:
    async with make(Script(*words(2000, 0.001)), tail_size=1) as world:
        client = await world.client()
        await client.say("go", "m1")
        await client.until("TEXT_MESSAGE_START")
        start = client.position
        await client.until("RUN_FINISHED", within=60)
        again = await world.join(client, f"after={start}")
        if paused:
            again.pause()
        await asyncio.sleep(0)
        again.drop()
        await again.line.wait_closed()
        await asyncio.sleep(1)
        assert sum(gateway.stats()["total_connections"] for gateway in world.gateways) == 1

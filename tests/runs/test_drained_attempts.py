"""Another attempt at an answer that a drain has interrupted, where the agent allows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from agentws import Agent, RunContext, tool
from agentws.events import TokenUsage
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.testing.connect import Client, connect

from .attempting import Trying, attempts_in, log_of, shown
from .nodes import Node, nodes


async def drained_and_answered(client: Client, first: Node, second: Node) -> None:
    """Drains the node of a run; returns when another attempt has finished."""
    await client.say("go", "m1")
    await client.until("TEXT_MESSAGE_CONTENT")
    await first.gateway.drain()
    await client.reconnect(second.app)
    await client.until("RUN_FINISHED", within=30)


async def test_what_a_drain_interrupts_is_attempted_again_on_another_node() -> None:
    class Twice(Trying):
        pass

    async with nodes(Twice) as (first, second):
        async with connect(first.app) as client:
            await drained_and_answered(client, first, second)
            events = await log_of(second, client)
            kinds = [one.__struct_config__.tag for one in events]
            at = kinds.index("RUN_ERROR")
            assert kinds[at : at + 4] == [
                "RUN_ERROR",
                "history.branched",
                "message.accepted",
                "RUN_STARTED",
            ]
            error = events[at]
            assert isinstance(error, e.RunError) and error.code == "interrupted"
            assert error.metadata == {"agentws": {"retryable": True, "nextAttempt": 2}}
            assert await shown(second, client) == [("user", "go"), ("assistant", "attempt 2 done")]
    (one, key), (two, same) = Twice.runs
    assert (one, two, key) == (1, 2, same)


async def test_the_other_node_begins_at_once_and_not_with_its_next_look() -> None:
    class Soon(Trying):
        pass

    async with nodes(Soon, poll_interval=60.0, idle_poll_interval=60.0) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            await first.gateway.drain()
            begun = asyncio.get_running_loop().time()
            await client.reconnect(second.app)
            await client.until("RUN_FINISHED", within=30)
            assert asyncio.get_running_loop().time() - begun < 5


async def test_a_drain_counts_as_an_attempt_as_a_lost_node_does() -> None:
    class Never(Trying):
        attempts = 2
        hangs = 9

    async with nodes(Never, count=3) as (first, second, third):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            first.freeze()
            await client.reconnect(second.app)
            # The third node may be the one that attempts it.
            await client.until(lambda frame: "attempt 2" in str(frame), within=30)
            await asyncio.gather(second.gateway.drain(), third.gateway.drain())
            async with nodes(Never, count=1, store=third.store) as (fourth,):
                await client.reconnect(fourth.app)
                await client.until(lambda frame: "RUN_ERROR" in str(frame), within=30)
                await asyncio.sleep(5)
                events = await log_of(fourth, client)
    assert attempts_in(events) == [1, 2]
    told = [m.told_in(one.metadata) for one in events if isinstance(one, e.RunError)]
    assert [one.get("nextAttempt") for one in told] == [2, None]


async def test_an_agent_that_does_not_allow_it_is_interrupted_as_before() -> None:
    class Once(Trying):
        attempts = 1

    async with nodes(Once) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            await first.gateway.drain()
            await client.reconnect(second.app)
            error = (await client.until("RUN_ERROR", within=30))["event"]
            assert error["metadata"] == {"agentws": {"retryable": True}}
            await asyncio.sleep(5)
            await log_of(second, client)
            assert await shown(second, client) == [("user", "go"), ("assistant", "attempt 1 ")]
    assert len(Once.runs) == 1


async def test_a_run_that_was_to_stop_is_not_attempted_again_after_a_drain() -> None:
    class Slow(Trying):
        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            self.runs.append((ctx.attempt, ctx.idempotency_key))
            yield "so far "
            try:
                await asyncio.sleep(1e6)
            finally:
                await asyncio.sleep(1)

    async with nodes(Slow, cancel_grace=5.0) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            draining = asyncio.create_task(first.gateway.drain())
            # The agent is being interrupted by now.
            await asyncio.sleep(0.7)
            await client.reconnect(second.app)
            await client.ask({"type": "cancel", "id": "c1"})
            await draining
            await client.until("RUN_ERROR")
            await asyncio.sleep(5)
            assert attempts_in(await log_of(second, client)) == [1]
    assert len(Slow.runs) == 1


async def test_an_agent_that_ignores_its_cancellation_is_attempted_again_elsewhere() -> None:
    class Stubborn(Trying):
        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            self.runs.append((ctx.attempt, ctx.idempotency_key))
            yield f"attempt {ctx.attempt} "
            while ctx.attempt == 1:
                try:
                    await asyncio.sleep(20)
                    break
                except asyncio.CancelledError:
                    pass
            yield "done"

    async with nodes(Stubborn) as (first, second):
        async with connect(first.app) as client:
            await drained_and_answered(client, first, second)
            assert await shown(second, client) == [("user", "go"), ("assistant", "attempt 2 done")]


called: list[str] = []


@tool
async def pay(account: str) -> str:
    """Pays."""
    called.append(account)
    if account == "slow" and called.count("slow") == 1:
        await asyncio.sleep(1e6)
    return f"paid {len(called)}"


class Paying(Agent):
    attempts = 2

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        ctx.report_usage(TokenUsage(input_tokens=7, output_tokens=3))
        yield await ctx.call(pay, account="A")
        yield await ctx.call(pay, account="slow")


async def test_what_was_called_and_recorded_before_a_drain_is_not_called_again() -> None:
    called.clear()
    async with nodes(Paying) as (first, second):
        async with connect(first.app) as client:
            await drained_and_answered(client, first, second)
            events = await log_of(second, client)
    assert called == ["A", "slow", "slow"]
    [error] = [one for one in events if isinstance(one, e.RunError)]
    # What the model has cost is told, though the text is out of view.
    assert error.usage and error.usage[0].input_tokens == 7


async def test_a_node_that_starts_again_alone_attempts_what_its_drain_has_interrupted() -> None:
    class Alone(Trying):
        pass

    async with nodes(Alone, count=1) as (node,):
        async with connect(node.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            await node.gateway.stop()
            await node.gateway.start(again=True)
            await client.reconnect(node.app)
            await client.until("RUN_FINISHED", within=30)
            assert attempts_in(await log_of(node, client)) == [1, 2]

"""What an agent takes of the messages that steer it: all, one by one, or none."""

from __future__ import annotations

import asyncio
from typing import Any

from agentws import RunContext
from agentws.protocol import events as e
from agentws.testing.agents import Gate

from .harness import talk
from .steering import outcomes, told


async def test_an_agent_that_listens_gets_each_message_as_it_comes() -> None:
    async def agent(ctx: RunContext) -> Any:
        async for message in ctx.steering():
            yield f"got {message.content}"
            if message.content == "stop":
                return

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.client.until("RUN_STARTED")
        for number, text in enumerate(["one", "two", "stop"]):
            await one.client.say(text, f"m{number + 2}", overlap="steer")
        await one.terminal()
        fold = await one.check()
    assert [one[1] for one in told(fold)] == [
        "go",
        "one",
        "got one",
        "two",
        "got two",
        "stop",
        "got stop",
    ]


async def test_what_a_listener_leaves_is_not_delivered() -> None:
    gate, texts = Gate(), list[str]()

    async def agent(ctx: RunContext) -> Any:
        texts.append(ctx.text)
        yield "text"
        if ctx.text == "go":
            await gate.wait()
            async for message in ctx.steering():
                yield f"got {message.content}"
                break

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.say("one", "m2", overlap="steer")
        await one.client.say("two", "m3", overlap="steer")
        gate.open()
        await one.ended(2)
        assert await outcomes(one) == [
            ("m2", "delivered", None),
            ("m3", "undelivered", "finished"),
        ]
        await one.check()
    assert texts == ["go", "two"]


async def test_a_listener_in_a_task_ends_with_the_run() -> None:
    ended = asyncio.Event()

    async def agent(ctx: RunContext) -> Any:
        async def listen() -> None:
            async for _ in ctx.steering():
                pass
            ended.set()

        task = asyncio.create_task(listen())
        await asyncio.sleep(0)
        yield "text"
        ctx.output.write("")
        del task

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        await asyncio.wait_for(ended.wait(), 1)
        await one.check()


async def test_a_message_is_taken_once_by_two_tasks() -> None:
    async def agent(ctx: RunContext) -> Any:
        yield "text"
        await gate.wait()
        taken = await asyncio.gather(*(ctx.steered() for _ in range(3)))
        got.extend(one.id for some in taken for one in some)

    gate, got = Gate(), list[str]()
    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.say("one", "m2", overlap="steer")
        await one.client.say("two", "m3", overlap="steer")
        gate.open()
        await one.terminal()
        await one.check()
    assert sorted(got) == ["m2", "m3"]


async def test_a_run_that_is_over_takes_nothing() -> None:
    contexts: list[RunContext] = []

    async def agent(ctx: RunContext) -> Any:
        contexts.append(ctx)
        yield "text"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert await contexts[0].steered() == []
        assert [message async for message in contexts[0].steering()] == []


async def test_an_open_message_of_the_agents_own_goes_on_after_a_delivery() -> None:
    """Only text that was yielded plainly is ended: the agent closes what it has opened."""
    gate = Gate()

    async def agent(ctx: RunContext) -> Any:
        yield e.TextMessageStart("own")
        yield e.TextMessageContent(message_id="own", delta="one ")
        await gate.wait()
        await ctx.steered()
        yield e.TextMessageContent(message_id="own", delta="two")
        yield e.TextMessageEnd("own")

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.say("left", "m2", overlap="steer")
        gate.open()
        await one.terminal()
        fold = await one.check()
    assert told(fold) == [("U", "go"), ("A", "one two"), ("U", "left")]

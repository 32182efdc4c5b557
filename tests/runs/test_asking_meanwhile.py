"""The tasks of an agent that asks: what they do while it waits comes with the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import RunContext, tool
from agentws.errors import TooLarge

from .asking import answer, questions
from .harness import talk


async def test_what_other_tasks_write_meanwhile_comes_with_the_answer() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        async def work() -> None:
            for count in range(5):
                await asyncio.sleep(0.2)
                ctx.output.write(f"{count} ")

        task = asyncio.create_task(work())
        said = await ctx.ask("Which?")
        await task
        yield said

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(3)
        assert (await one.kinds())[-1] == "RUN_FINISHED"
        await one.client.ask(answer("a1", asked["id"], "done"))
        assert await one.client.answer() == "0 1 2 3 4 done"
        await one.check()


async def test_what_is_called_and_asked_meanwhile_comes_with_the_answer() -> None:
    done: list[int] = []

    @tool
    async def note(number: int) -> int:
        done.append(number)
        return number

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        async def later() -> str:
            await asyncio.sleep(1)
            await ctx.call(note, number=1)
            return str(await ctx.ask("Second?"))

        yield f"{await asyncio.gather(ctx.ask('First?'), later())}"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(5)
        assert (asked["message"], done) == ("First?", [])
        await one.client.ask(answer("a1", asked["id"], "a"))
        (asked,) = await questions(one.client)
        assert (asked["message"], done) == ("Second?", [1])
        await one.client.ask(answer("a2", asked["id"], "b"))
        assert await one.client.answer() == "['a', 'b']"
        await one.check()


@pytest.mark.parametrize("park", [300.0, 0.05], ids=["ended", "let go"])
async def test_no_task_of_an_agent_waits_after_its_end(park: float) -> None:
    tasks: list[asyncio.Task[Any]] = []

    @tool
    async def work() -> None: ...

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        async def later() -> None:
            await asyncio.sleep(0.02)
            await ctx.call(work)

        tasks.append(asyncio.create_task(ctx.ask("Which?")))
        tasks.append(asyncio.create_task(later()))
        if park == 300.0:
            yield "bye"
        else:
            await tasks[0]

    async with talk(agent, park=park) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        await asyncio.sleep(1)
        assert all(task.done() for task in tasks)
        await asyncio.wait(tasks)


async def test_only_so_much_is_held_while_an_agent_waits() -> None:
    failed: list[Exception] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        async def flood() -> None:
            await asyncio.sleep(1)
            try:
                for _ in range(1000):
                    ctx.output.write("x" * 1000)
            except TooLarge as error:
                failed.append(error)

        _, said = await asyncio.gather(flood(), ctx.ask("Which?"))
        yield said

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(3)
        assert len(failed) == 1
        await one.client.ask(answer("a1", asked["id"], "fine"))
        assert str(await one.client.answer()).endswith("xfine")
        await one.check()


async def test_an_agent_that_does_not_wait_is_held_until_the_answer() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        asking = asyncio.create_task(ctx.ask("Which?"))
        for count in range(100):
            yield f"{count} "
            await asyncio.sleep(0.01)
        asking.cancel()

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(3)
        await one.client.ask(answer("a1", asked["id"], "x"))
        await one.ended(2)
        assert "".join(filter(None, await one.texts())).split() == list(map(str, range(100)))
        await one.check()


@pytest.mark.parametrize("fails", [True, False])
async def test_an_agent_that_gives_up_waiting_ends_with_the_answer(fails: bool) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        try:
            async with asyncio.timeout(0.5):
                await ctx.ask("Which?")
        except TimeoutError:
            if fails:
                raise
        yield "without"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(2)
        assert len(await one.ended(1)) == 1
        await one.client.ask(answer("a1", asked["id"], "x"))
        ended = await one.ended(2)
        assert ended[-1]["type"] == ("RUN_ERROR" if fails else "RUN_FINISHED")
        await one.check()

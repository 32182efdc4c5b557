"""``ctx.ask``: the run ends with the question, the agent goes on with the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from agentws import RunContext, tool
from agentws.errors import AskDeclined, TooLarge
from agentws.testing.connect import connect

from .asking import answer, events_of, questions
from .harness import talk
from .nodes import nodes


class Refund(msgspec.Struct):
    order: str
    amount: float


async def one_question(ctx: RunContext) -> AsyncIterator[str]:
    yield "Let me see. "
    said = await ctx.ask("Refund 500?")
    yield f"You said {said}."


async def test_an_agent_goes_on_where_it_asked() -> None:
    async with talk(one_question) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        assert (asked["reason"], asked["message"]) == ("input_required", "Refund 500?")
        await one.client.ask(answer("a1", asked["id"], "yes"))
        assert await one.client.answer() == "You said yes."
        first, second = events_of(one.client, "RUN_STARTED")
        assert second["parentRunId"] == first["runId"]
        assert second["input"]["resume"] == [
            {"interruptId": asked["id"], "status": "resolved", "payload": "yes"}
        ]
        fold = await one.check()
        assert [one.content for one in fold.messages] == ["go", "Let me see. ", "You said yes."]


@pytest.mark.parametrize("park", [300.0, 0.05], ids=["in memory", "called again"])
async def test_an_agent_may_ask_several_times(park: float) -> None:
    begun: list[str] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        begun.append(ctx.text)
        yield "Hello. "
        name = await ctx.ask("Your name?")
        yield f"Dear {name}, "
        age = await ctx.ask("Your age?", schema=int)
        yield f"you are {age + 1} next year."

    async with talk(agent, park=park) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(1)
        await one.client.ask(answer("a1", asked["id"], "Ann"))
        (asked,) = await questions(one.client)
        await asyncio.sleep(1)
        await one.client.ask(answer("a2", asked["id"], 41))
        assert await one.client.answer() == "you are 42 next year."
        assert len(begun) == (1 if park > 1 else 3)
        fold = await one.check()
        said = [one.content for one in fold.messages]
        assert said == ["go", "Hello. ", "Dear Ann, ", "you are 42 next year."]


async def test_questions_that_are_asked_together_end_one_run() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        first, second = await asyncio.gather(ctx.ask("One?"), ctx.ask("Two?"))
        yield f"{first} {second}"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        asked = await questions(one.client)
        assert [each["message"] for each in asked] == ["One?", "Two?"]
        await one.client.ask(answer("a2", asked[1]["id"], "b"))
        await asyncio.sleep(1)
        await one.client.ask(answer("a1", asked[0]["id"], "a"))
        assert await one.client.answer() == "a b"
        await one.check()


async def test_a_session_goes_on_while_a_question_is_open() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield await ctx.ask("Which?") if ctx.text == "ask" else "other"

    async with talk(agent) as one:
        await one.client.say("ask", "m1")
        (asked,) = await questions(one.client)
        await one.client.say("more", "m2")
        assert await one.client.answer() == "other"
        await one.client.say("ask", "m3")
        (again,) = await questions(one.client)
        await one.client.ask(answer("a1", asked["id"], "first"))
        assert await one.client.answer() == "first"
        await one.client.ask(answer("a2", again["id"], "second"))
        assert await one.client.answer() == "second"
        await one.check()


@pytest.mark.parametrize("park", [300.0, 0.05], ids=["in memory", "called again"])
async def test_an_answer_has_the_type_that_was_asked_for(park: float) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        given = await ctx.ask("What?", schema=Refund)
        yield f"{given}"

    async with talk(agent, park=park) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        assert asked["responseSchema"]["properties"]["amount"] == {"type": "number"}
        await asyncio.sleep(1)
        await one.client.ask(answer("a1", asked["id"], {"order": "o1"}))
        (asked,) = await questions(one.client)
        assert asked["message"].startswith("What?\n\nThe answer does not fit: Object missing")
        await asyncio.sleep(1)
        await one.client.ask(answer("a2", asked["id"], {"order": "o1", "amount": 2}))
        assert await one.client.answer() == "Refund(order='o1', amount=2.0)"
        await one.check()


async def test_an_answer_must_be_one_of_the_choices() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield await ctx.ask("Which?", choices=["red", "blue"])

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        assert asked["reason"] == "confirmation"
        assert asked["metadata"]["agentws"]["choices"] == ["red", "blue"]
        for wrong in ("green", 1, None, ["red"]):
            refused = await one.client.ask(answer("a1", asked["id"], wrong))
            assert refused["code"] == "bad_request"
            assert refused["expected"] == "one of red, blue"
        await one.client.ask(answer("a1", asked["id"], "blue"))
        assert await one.client.answer() == "blue"


@pytest.mark.parametrize("park", [300.0, 0.05], ids=["in memory", "called again"])
async def test_a_question_may_be_declined(park: float) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        try:
            await ctx.ask("Which?")
        except AskDeclined:
            yield "Never mind."
        await ctx.ask("Really?")

    async with talk(agent, park=park) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(1)
        await one.client.ask(answer("a1", asked["id"], status="cancelled"))
        (asked,) = await questions(one.client)
        await asyncio.sleep(1)
        await one.client.ask(answer("a2", asked["id"], status="cancelled"))
        ended = (await one.terminal())["event"]
        assert (ended["type"], ended["code"]) == ("RUN_ERROR", "ask_declined")
        assert await one.texts() == ["Never mind."]
        await one.check()


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


async def test_clear_lets_the_waiting_agent_go() -> None:
    ended: list[str] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        try:
            yield await ctx.ask("Which?")
        finally:
            ended.append("finally")

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await one.client.ask({"type": "command", "id": "c", "name": "clear"})
        await asyncio.sleep(0.1)
        assert ended == ["finally"]
        assert (await one.client.ask(answer("a1", asked["id"])))["code"] == "not_found"
        await one.client.say("go", "m2")
        (asked,) = await questions(one.client)
        await one.client.ask(answer("a1", asked["id"], "x"))
        assert await one.client.answer() == "x"
        await one.check()


async def test_a_stop_does_not_hit_the_waiting_agent() -> None:
    async with talk(one_question) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await one.client.ask({"type": "cancel", "id": "c", "message": "m1"})
        await one.client.ask(answer("a1", asked["id"], "yes"))
        assert await one.client.answer() == "You said yes."
        await one.check()


async def test_a_run_that_goes_on_can_be_stopped() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield await ctx.ask("Which?")
        await asyncio.get_running_loop().create_future()

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await one.client.ask(answer("a1", asked["id"], "yes"))
        await one.client.until("TEXT_MESSAGE_CONTENT")
        await one.client.ask({"type": "cancel", "id": "c"})
        assert (await one.terminal())["event"]["outcome"]["type"] == "cancelled"
        await one.client.say("go", "m2")
        assert len(await questions(one.client)) == 1
        await one.check()


async def test_a_waiting_agent_takes_no_place_of_a_run() -> None:
    async with talk(one_question, max_runs=1) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        async with connect(one.client.app) as other:
            await other.until("welcome")
            await other.say("go", "m1")
            (second,) = await questions(other)
            await one.client.ask(answer("a1", asked["id"], "yes"))
            assert await one.client.answer() == "You said yes."
            await other.ask(answer("a2", second["id"], "no"))
            assert await other.answer() == "You said no."


async def test_only_so_many_agents_wait_in_memory() -> None:
    begun: list[str] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        begun.append(ctx.text)
        yield await ctx.ask(f"{ctx.text}?")

    async with talk(agent, max_parked=2) as one:
        asked = []
        for number in range(4):
            await one.client.say(f"q{number}", f"m{number}")
            asked += await questions(one.client)
        for number, each in enumerate(asked):
            await one.client.ask(answer(f"a{number}", each["id"], f"r{number}"))
            assert await one.client.answer() == f"r{number}"
        assert begun[4:] == ["q0", "q1"]
        await one.check()


@pytest.mark.parametrize("lossy", [None, 1.0], ids=["bus", "no bus"])
async def test_an_answer_through_another_node_reaches_the_waiting_agent(
    lossy: float | None,
) -> None:
    begun: list[str] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        begun.append(ctx.text)
        yield await ctx.ask("Which?")

    async with nodes(agent, lossy=lossy) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            (asked,) = await questions(client)
            await client.reconnect(second.app)
            await client.ask(answer("a1", asked["id"], "yes"))
            assert await client.answer() == "yes"
    assert begun == ["go"]


async def test_another_node_goes_on_when_the_first_one_is_gone() -> None:
    begun: list[str] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        begun.append(f"{ctx.text} {[one.content for one in await ctx.history()]}")
        yield "Hm. "
        yield await ctx.ask("Which?")

    async with nodes(agent) as (first, second):
        async with connect(first.app) as client:
            await client.say("before", "m0")
            await questions(client)
            await client.say("go", "m1")
            (asked,) = await questions(client)
            first.freeze()
            await client.reconnect(second.app)
            await client.ask(answer("a1", asked["id"], "yes"))
            assert await client.answer() == "yes"
            first.thaw()
            await asyncio.sleep(30)
            await client.settle()
    assert begun[-1] == begun[-2]


async def test_a_shutdown_leaves_the_question_open() -> None:
    async with nodes(one_question) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            (asked,) = await questions(client)
            await first.gateway.drain()
            await client.reconnect(second.app)
            await client.ask(answer("a1", asked["id"], "yes"))
            assert await client.answer() == "You said yes."


async def test_an_agent_that_asks_something_else_the_second_time_fails() -> None:
    asks = ["Refund?", "Replace?"]

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield await ctx.ask(asks.pop(0))

    async with talk(agent, park=0.05) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(1)
        await one.client.ask(answer("a1", asked["id"], "yes"))
        ended = (await one.terminal())["event"]
        assert ended["code"] == "replay_diverged"
        assert (await one.texts()) == []
        await one.check()


async def test_an_agent_that_no_longer_asks_fails() -> None:
    asks = [True, False]

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "Hello. "
        if asks.pop(0):
            await ctx.ask("Refund?")
        yield "Done."

    async with talk(agent, park=0.05) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        await asyncio.sleep(1)
        await one.client.ask(answer("a1", asked["id"], "yes"))
        ended = (await one.terminal())["event"]
        assert ended["code"] == "replay_diverged"
        assert await one.texts() == ["Hello. "]
        await one.check()


async def test_a_question_that_is_too_large_is_refused_where_it_is_asked() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        try:
            await ctx.ask("x" * 70_000)
        except Exception as error:
            yield f"{type(error).__name__}"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "EventTooLarge"


@pytest.mark.parametrize(
    "wrong",
    [
        {"choices": []},
        {"choices": "ab"},
        {"choices": [1, 2]},
        {"choices": ["a"], "schema": int},
        {"expires": 0},
    ],
)
async def test_options_that_make_no_question_are_refused(wrong: dict[str, Any]) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        try:
            await ctx.ask("Which?", **wrong)
        except ValueError as error:
            yield str(error)

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        assert "expected" in str(await one.client.answer())

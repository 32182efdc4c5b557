"""``ctx.ask``: the run ends with the question, the agent goes on with the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from agentws import RunContext
from agentws.errors import AskDeclined

from .asking import answer, events_of, one_question, questions
from .harness import talk


class Refund(msgspec.Struct):
    order: str
    amount: float


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


class Found(str):
    """Like the text that a library finds in a page."""


WORDS = [Found("red"), Found("blue")]
GIVEN: dict[str, Callable[[], Any]] = {
    "a generator": lambda: (word for word in ("red", "blue")),
    "keys": lambda: {"red": 1, "blue": 2}.keys(),
    "subclasses of str": lambda: WORDS,
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
async def test_choices_may_be_anything_that_gives_texts(given: Callable[[], Any]) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield await ctx.ask(Found("Which?"), choices=given())

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        assert (asked["reason"], asked["message"]) == ("confirmation", "Which?")
        assert asked["responseSchema"]["enum"] == ["red", "blue"]
        assert asked["metadata"]["agentws"]["choices"] == ["red", "blue"]
        await one.client.ask(answer("a1", asked["id"], "blue"))
        assert await one.client.answer() == "blue"
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
        {"question": 5},
        {"question": None},
    ],
)
async def test_options_that_make_no_question_are_refused(wrong: dict[str, Any]) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        try:
            await ctx.ask(**{"question": "Which?", **wrong})
        except (TypeError, ValueError) as error:
            yield str(error)

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        assert "expected" in str(await one.client.answer())

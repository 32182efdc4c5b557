"""Questions on the simple wire: shown as text, answered by the next message."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import pytest

from agentws import RunContext, tool
from agentws.errors import ToolDenied
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.outline import Outline
from agentws.protocol.spoken import spoken_answer
from agentws.testing.connect import connect

from .harness import talk


@tool(approve=True)
async def pay(amount: float) -> str:
    return f"paid {amount:g}"


async def agent(ctx: RunContext) -> AsyncIterator[str]:
    match ctx.text:
        case "size":
            yield f"{await ctx.ask('Which size?', choices=['small', 'large'])} it is"
        case "name":
            yield f"Hello {await ctx.ask('Your name?')}"
        case "pay":
            try:
                yield await ctx.call(pay, amount=5)
            except ToolDenied:
                yield "not paid"
        case text:
            yield f"you said {text}"


async def until(client: Any, type: str) -> Any:
    return await client.until(lambda frame: frame.get("type") == type)


@pytest.mark.parametrize(
    ("asks", "shown", "said", "answer"),
    [
        ("size", "Which size?\n1. small\n2. large", "2", "large it is"),
        ("size", "Which size?\n1. small\n2. large", " 1. ", "small it is"),
        ("size", "Which size?\n1. small\n2. large", "Large", "large it is"),
        ("size", "Which size?\n1. small\n2. large", "huge", "you said huge"),
        ("name", "Your name?", "Ann", "Hello Ann"),
        ("pay", 'Call pay with {"amount":5}?\nAnswer yes or no.', "yes", "paid 5"),
        ("pay", 'Call pay with {"amount":5}?\nAnswer yes or no.', "No", "not paid"),
        ("pay", 'Call pay with {"amount":5}?\nAnswer yes or no.', "why?", "you said why?"),
    ],
)
async def test_the_next_message_answers_a_question(
    asks: str, shown: str, said: str, answer: str
) -> None:
    async with talk(agent) as one:
        async with connect(one.client.app, native=False) as client:
            await client.send(asks)
            question = await until(client, "system")
            assert question["content"] == shown
            assert {"interrupt", "position", "run_id"} <= question["metadata"].keys()
            await client.send(said)
            assert (await until(client, "text"))["content"] == answer


def outline(*interrupts: m.Interrupt) -> Outline:
    made = Outline()
    made.apply(e.RunFinished("s", "r1", outcome=m.InterruptOutcome(list(interrupts))), "r1")
    return made


def asked(reason: str = "input_required", **members: Any) -> m.Interrupt:
    return m.Interrupt("q1", reason, metadata={"agentws": {"step": "1"}}, **members)


@pytest.mark.parametrize(
    ("type", "text", "payload"),
    [("boolean", "Yes", True), ("boolean", "n", False), ("integer", "7", 7), ("object", "{}", {})],
)
def test_an_answer_has_the_type_of_its_schema(type: str, text: str, payload: Any) -> None:
    answer = spoken_answer(outline(asked(response_schema={"type": type})), text)
    assert answer == ("q1", payload)


@pytest.mark.parametrize(
    "interrupt",
    [
        asked(response_schema={"type": "integer"}),
        asked(m.CLIENT_TOOL),
        m.Interrupt("q1", "approval", message="May I?"),
    ],
)
def test_what_is_no_answer_is_a_message(interrupt: m.Interrupt) -> None:
    assert spoken_answer(outline(interrupt), "seven of them") is None


def test_a_message_answers_nothing_while_a_run_is_active() -> None:
    open = outline(asked())
    assert spoken_answer(open, "x") == ("q1", "x")
    open.apply(e.RunStarted("s", "r2"), "r2")
    assert spoken_answer(open, "x") is None


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Place:
    city: str


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        (int | None, "7", 7),
        (int | None, "None", None),
        (int | None, "null", None),
        (bool | None, "no", False),
        (int | str, "7", 7),
        (int | str, "seven", "seven"),
        (str | None, "none", None),
        (Literal["a"] | Literal[1] | None, "1", 1),
        (Literal["a"] | Literal[1] | None, "A", "a"),
        (Color, "2", Color.RED),
        (Color, "Red", Color.RED),
        (Color | None, "blue", Color.BLUE),
        (Place | None, '{"city": "Oslo"}', Place("Oslo")),
        (list[int] | int, "[1, 2]", [1, 2]),
        (Any, "text", "text"),
    ],
)
async def test_a_question_of_several_types_can_be_answered_in_words(
    type: Any, text: str, value: Any
) -> None:
    answers: list[Any] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        answers.append(await ctx.ask("Which?", schema=type))
        yield "Thanks."

    async with talk(agent) as one, connect(one.client.app, native=False) as client:
        await client.send("go")
        await until(client, "system")
        await client.send(text)
        assert (await until(client, "text"))["content"] == "Thanks."
    assert answers == [value]


@pytest.mark.parametrize(
    "type", [int | None, bool | list[int], Literal["a"] | Literal[1], Place | None]
)
async def test_a_text_of_none_of_the_types_is_a_message(type: Any) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        if ctx.text == "go":
            await ctx.ask("Which?", schema=type)
        yield ctx.text

    async with talk(agent) as one, connect(one.client.app, native=False) as client:
        await client.send("go")
        await until(client, "system")
        await client.send("seven of them")
        assert (await until(client, "text"))["content"] == "seven of them"

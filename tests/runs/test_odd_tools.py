"""Tools that return or raise what no tool should, and types that raise errors of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from agentws import RunContext, tool
from agentws.errors import ToolError
from agentws.testing.fakellm import Reply, ScriptedLLM, ToolUse

from .asking import answer, events_of, questions
from .chatting import ADD, add, chat
from .harness import talk


@tool
async def with_nul() -> str:
    return "a\x00b"


@tool
async def with_surrogate() -> str:
    return "a\ud800b"


@tool
async def wide() -> str:
    return "\N{EURO SIGN}" * 100_000


@tool
async def escaped() -> str:
    return '"' * 200_000


@tool
async def no_number() -> list[float]:
    return [float("inf")]


@tool
async def exits() -> str:
    raise SystemExit(3)


@dataclass
class Even:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise KeyError("the password is swordfish")


@tool
async def takes_even(even: Even) -> int:
    return even.number


@tool
async def takes_set(of: set[Even]) -> int:
    return len(of)


def exits_too(of: Any) -> bool:
    raise SystemExit(3)


@tool(approve=exits_too)
async def asks() -> str:
    return "never"


@pytest.mark.parametrize(
    ("odd", "arguments", "says"),
    [
        (with_nul, {}, "The result of with_nul can't be written."),
        (with_surrogate, {}, "The result of with_surrogate can't be written."),
        (wide, {}, "The result of wide has 300002 bytes, which is too large."),
        (escaped, {}, "The result of escaped has 400002 bytes, which is too large."),
        (no_number, {}, "The result of no_number can't be encoded."),
        (exits, {}, "The tool failed."),
        (asks, {}, "The tool failed."),
        (takes_even, {"even": {"number": 1}}, "The tool failed."),
        (takes_set, {"of": [{"number": 2}]}, "The tool failed."),
    ],
)
async def test_whatever_a_tool_does_its_call_ends_with_an_error_and_the_agent_goes_on(
    odd: Any, arguments: dict[str, Any], says: str
) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        # In tasks: one that raises SystemExit would end the event loop.
        calls = (ctx.call(odd, **arguments) for _ in range(2))
        both = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(one, ToolError) for one in both), both
        yield "fine"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "fine"
        results = events_of(one.client, "TOOL_CALL_RESULT")
        assert [each["metadata"]["agentws"]["status"] for each in results] == ["error", "error"]
        assert all(each["content"].startswith(says) for each in results)
        assert "swordfish" not in str(one.client.frames)
        await one.check()


async def test_a_model_reads_that_a_type_of_its_tool_failed() -> None:
    llm = ScriptedLLM(
        [Reply(calls=[ToolUse("takes_even", {"even": {"number": 1}}), ADD]), "Sorry."]
    )
    async with talk(chat(llm, tools=[takes_even, add])) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "Sorry."
        await one.check()


@tool(approve=True)
async def label(names: dict[int, str]) -> str:
    """Prints labels."""
    return ", ".join(f"{number}: {name}" for number, name in names.items())


async def labelling(ctx: RunContext) -> AsyncIterator[str]:
    yield await ctx.call(label, names={1: "one"})


async def test_other_arguments_are_read_as_those_of_a_model_are() -> None:
    """Keys of an object are text in JSON, whatever they are in the tool's type."""
    async with talk(labelling) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        other = {"approved": True, "editedArgs": {"names": {"2": "two"}}}
        await one.client.ask(answer("a1", asked["id"], other))
        assert await one.client.answer() == "2: two"


@pytest.mark.parametrize(
    "payload",
    [
        {"approved": True, "editedArgs": '{"names": {}}'},
        {"approved": True, "editedArgs": []},
        {"approved": False, "reason": {"why": "no"}},
    ],
)
async def test_an_approval_of_another_form_is_refused_and_the_question_stays(payload: Any) -> None:
    async with talk(labelling) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        refused = await one.client.ask(answer("a1", asked["id"], payload))
        assert refused["code"] == "bad_request"
        await one.client.ask(answer("a2", asked["id"], {"approved": True}))
        assert await one.client.answer() == "1: one"


@pytest.mark.parametrize(
    "payload",
    [
        {"content": 5},
        {"content": [{"type": "unknown"}]},
        {"content": None},
        {"content": "a", "error": "b"},
        {"error": {"why": "no"}},
    ],
)
async def test_an_answer_that_is_no_result_of_a_tool_is_refused(payload: Any) -> None:
    async def locating(ctx: RunContext) -> AsyncIterator[str]:
        yield str(await ctx.client_tool("locate"))

    async with talk(locating) as one:
        await one.client.say("go", "m1")
        (asked,) = await questions(one.client)
        refused = await one.client.ask(answer("a1", asked["id"], payload))
        assert (refused["code"], refused["expected"]) == ("bad_request", "a tool_result")
        await one.client.ask(answer("a2", asked["id"], {"content": "here"}))
        assert await one.client.answer() == "here"

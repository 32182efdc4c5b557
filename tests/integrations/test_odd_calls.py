"""Calls whose pieces do not say plainly which call they belong to, or what its arguments are."""

from __future__ import annotations

from typing import Any

import pytest

from agentws.integrations import anthropic_prompt, openai_prompt
from agentws.protocol.messages import Tool
from agentws.testing.fakellm import Reply

from .wires import anthropic_messages, openai_chat, openai_delta, whole

TOOLS = [Tool("add", "Adds numbers."), Tool("clock", "Tells the time.")]


def piece(name: str | None, arguments: str, **members: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}} | members


async def calls_in(*deltas: list[dict[str, Any]]) -> list[tuple[str, str]]:
    events = [openai_delta({"tool_calls": pieces}) for pieces in deltas]
    outcome = await whole(openai_chat, Reply(events=events, finish="tool_calls"), TOOLS)
    return list(outcome.calls.values())


FIRST, SECOND = '{"a":{"b":1}}', '{"a":2}'


@pytest.mark.parametrize(
    "members", [{"index": 0}, {"index": 0, "id": ""}, {"index": 0, "id": None}]
)
@pytest.mark.parametrize("together", [True, False])
async def test_two_calls_of_one_tool_with_the_same_index_and_no_ids_are_two(
    members: Any, together: bool
) -> None:
    both = [piece("add", FIRST, **members), piece("add", SECOND, **members)]
    said = await calls_in(both) if together else await calls_in([both[0]], [both[1]])
    assert said == [("add", FIRST), ("add", SECOND)]


async def test_two_calls_of_one_tool_in_pieces_with_its_name_in_each_are_two() -> None:
    pieces = ['{"a":', '{"b":1}', "}", '{"a"', ":2}"]
    said = await calls_in(*([piece("add", one, index=0)] for one in pieces))
    assert said == [("add", FIRST), ("add", SECOND)]


async def test_a_name_that_is_repeated_after_the_arguments_begins_no_call() -> None:
    assert await calls_in([piece("add", FIRST, index=0)], [piece("add", "", index=0)]) == [
        ("add", FIRST)
    ]


async def test_two_calls_of_one_tool_of_anthropic_without_ids_are_two() -> None:
    starts = [
        {"type": "content_block_start", "index": 0, "content_block": block}
        for block in (
            {"type": "tool_use", "name": "add", "input": {"a": 1}},
            {"type": "tool_use", "name": "add", "input": {"a": 2}},
        )
    ]
    outcome = await whole(anthropic_messages, Reply(events=starts, finish="tool_use"), TOOLS)
    assert list(outcome.calls.values()) == [("add", '{"a":1}'), ("add", '{"a":2}')]


@pytest.mark.parametrize("rest", [['{"a":2}'], ["", '{"a"', ":2}"]])
async def test_an_empty_object_before_the_arguments_is_none_of_them(rest: list[str]) -> None:
    """Proxies of Anthropic's models pass on the empty input that a call begins with."""
    begun = [piece("add", "{}", index=0, id="x")]
    said = await calls_in(begun, *([piece(None, one, index=0)] for one in rest))
    assert said == [("add", SECOND)]


async def test_calls_with_an_empty_object_as_arguments_are_read() -> None:
    pieces = [piece("clock", "{}", index=at, id=str(at)) for at in range(2)]
    assert await calls_in(pieces) == [("clock", "{}")] * 2
    assert await calls_in([piece("clock", "{}", index=0)] * 2) == [("clock", "{}")] * 2
    in_pieces = [[piece("clock", "{", index=0)], [piece(None, "}", index=0)]]
    assert await calls_in(*in_pieces) == [("clock", "{}")]


@pytest.mark.parametrize(
    "name", ["add<|channel|>commentary", "functions.add", " add\n", "functions.add<|message|>"]
)
async def test_the_format_of_a_model_around_the_name_of_a_tool_is_no_part_of_it(name: str) -> None:
    assert await calls_in([piece(name, FIRST, index=0, id="x")]) == [("add", FIRST)]


@pytest.mark.parametrize("name", ["<|channel|>", "functions.", "subtract", "add2", "functions.x"])
async def test_a_name_that_is_not_a_tools_is_what_the_model_said(name: str) -> None:
    assert await calls_in([piece(name, FIRST, index=0, id="x")]) == [(name, FIRST)]


@pytest.mark.parametrize("description", ["", " \n"])
def test_a_tool_without_a_description_is_given_without_one(description: str) -> None:
    bare = [Tool("ping", description)]
    assert list(openai_prompt.tool_entries(bare)[0]["function"]) == ["name", "parameters"]
    assert list(anthropic_prompt.tool_entries(bare)[0]) == ["name", "input_schema"]

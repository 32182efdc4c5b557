"""``ctx.client_tool``: a client calls its own tool, the first result wins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from agentws import RunContext
from agentws.errors import ToolError
from agentws.testing.connect import Client, connect

from .asking import answer, events_of, questions
from .harness import Talk, talk

PARKS = pytest.mark.parametrize("park", [300.0, 0.05], ids=["in memory", "called again"])


class Place(msgspec.Struct):
    latitude: float
    longitude: float


def locating(**options: Any) -> Any:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        try:
            place = await ctx.client_tool("get_location", {"exact": True}, **options)
            yield f"You are at {place}."
        except ToolError as error:
            yield f"Where are you? {error.message}"

    return agent


def result(id: str, call: str, **members: Any) -> dict[str, Any]:
    return {"type": "tool_result", "id": id, "toolCallId": call, **members}


async def open_call(one: Talk) -> str:
    """Starts the run; returns the id of the call that a client is to make."""
    await one.client.say("go", "m1")
    (asked,) = await questions(one.client)
    assert asked["reason"] == "agentws:client_tool"
    await asyncio.sleep(1)
    return str(asked["toolCallId"])


@PARKS
async def test_a_client_gives_the_result_of_its_tool(park: float) -> None:
    async with talk(locating(schema=Place), park=park) as one:
        call = await open_call(one)
        (start,) = events_of(one.client, "TOOL_CALL_START")
        assert (start["toolCallId"], start["toolCallName"]) == (call, "get_location")
        assert events_of(one.client, "TOOL_CALL_ARGS")[0]["delta"] == '{"exact":true}'
        content = '{"latitude": 1.5, "longitude": 2}'
        await one.client.ask(result("r1", call, content=content))
        assert await one.client.answer() == "You are at Place(latitude=1.5, longitude=2.0)."
        (done,) = events_of(one.client, "TOOL_CALL_RESULT")
        assert (done["toolCallId"], done["content"]) == (call, content)
        assert done["metadata"]["agentws"]["status"] == "done"
        assert len(events_of(one.client, "TOOL_CALL_START")) == 1
        await one.check()


@PARKS
@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"error": "The user closed the dialog."}, "The user closed the dialog."),
        ({"content": "somewhere"}, "The result of get_location does not fit: JSON is malformed"),
        ({"content": '{"latitude": 1}'}, "The result of get_location does not fit: Object missing"),
    ],
)
async def test_an_error_reaches_the_agent(park: float, members: Any, says: str) -> None:
    async with talk(locating(schema=Place), park=park) as one:
        call = await open_call(one)
        await one.client.ask(result("r1", call, **members))
        assert str(await one.client.answer()).startswith(f"Where are you? {says}")
        await one.check()


async def test_content_parts_are_a_result_too() -> None:
    async with talk(locating()) as one:
        call = await open_call(one)
        parts = [{"type": "text", "text": "here"}]
        await one.client.ask(result("r1", call, content=parts))
        assert await one.client.answer() == f"You are at {parts}."
        await one.check()


async def test_the_first_result_wins() -> None:
    async with talk(locating()) as one:
        call = await open_call(one)
        async with connect(one.client.app, f"/ws/chat?session={one.session}") as other:
            await other.until("welcome")
            first = await one.client.ask(result("r1", call, content="here"))
            again = await one.client.ask(result("r2", call, content="here"))
            assert (again["duplicate"], again["position"]) == (True, first["position"])
            late = await other.ask(result("r1", call, content="there"))
            assert late["code"] == "already_answered"
        await one.ended(2)
        assert (await one.texts())[-1] == "You are at here."
        await one.check()


async def test_a_client_that_comes_back_finds_the_call_open() -> None:
    async with talk(locating()) as one:
        call = await open_call(one)
        await one.client.aclose()
        await asyncio.sleep(100)
        client = Client(one.client.app, f"/ws/chat?session={one.session}")
        await client.open()
        snapshot = (await client.until("MESSAGES_SNAPSHOT"))["event"]
        (asked,) = snapshot["metadata"]["agentws"]["interrupts"]
        assert asked["toolCallId"] == call
        await client.ask(result("r1", call, content="here"))
        assert await client.answer() == "You are at here."
        await client.aclose()


@PARKS
async def test_nobody_comes_and_the_call_ends_by_its_timeout(park: float) -> None:
    async with talk(locating(timeout=30), park=park) as one:
        call = await open_call(one)
        await asyncio.sleep(40)
        said = await one.client.answer()
        assert said == "Where are you? No client called get_location in time."
        (done,) = events_of(one.client, "TOOL_CALL_RESULT")
        assert done["metadata"]["agentws"]["status"] == "error"
        late = await one.client.ask(result("r1", call, content="here"))
        assert late["code"] == "expired"
        await one.check()


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({}, "bad_request"),
        ({"content": "a", "error": "b"}, "bad_request"),
        ({"content": [{"type": "text", "text": "a\x00"}]}, "bad_request"),
        ({"content": "a", "toolCallId": "unknown"}, "not_found"),
    ],
)
async def test_a_result_that_is_none_is_refused(members: Any, code: str) -> None:
    async with talk(locating()) as one:
        call = await open_call(one)
        refused = await one.client.ask({**result("r1", call), **members})
        assert refused["code"] == code
        await one.client.ask(result("r2", call, content="here"))
        assert await one.client.answer() == "You are at here."


async def test_an_answer_is_no_result_and_a_result_no_answer() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        both = await asyncio.gather(ctx.ask("Sure?"), ctx.client_tool("look"))
        yield f"{both}"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        asked, call = await questions(one.client)
        refused = await one.client.ask(result("r1", asked["id"], content="yes"))
        assert refused["code"] == "bad_request"
        refused = await one.client.ask(answer("a1", call["id"], "x"))
        assert refused["expected"] == "a tool_result"
        await one.client.ask(result("r2", call["id"], content="seen"))
        await one.client.ask(answer("a2", asked["id"], "yes"))
        assert await one.client.answer() == "['yes', 'seen']"

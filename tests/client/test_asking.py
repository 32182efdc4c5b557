"""Questions and the client's own tools, in the Python client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import RunContext, mount_agent_gateway
from agentws.client import Chat, connect
from agentws.errors import AlreadyAnswered, ToolError
from tests.limits import limits

from .serving import listening, plain


async def locating(ctx: RunContext) -> AsyncIterator[str]:
    try:
        yield f"at {await ctx.client_tool('locate', {'exact': True})}"
    except ToolError as error:
        yield f"failed: {error.message}"


async def asking(ctx: RunContext) -> AsyncIterator[str]:
    yield f"{await ctx.ask('Which?')}"


async def until(chat: Chat, text: str) -> None:
    """Waits for the message that begins with ``text``."""
    updates = chat.watch()
    async with asyncio.timeout(10):
        while not any(str(one.content).startswith(text) for one in chat.messages):
            await anext(updates)


async def opened(chat: Chat) -> str:
    """Waits for an open question; returns its id."""
    updates = chat.watch()
    async with asyncio.timeout(10):
        while not chat.questions:
            await anext(updates)
    return chat.questions[0].id


def app(agent: Any) -> Starlette:
    made = Starlette()
    mount_agent_gateway(made, agent, limits=limits())
    return made


async def async_handler(arguments: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0.01)
    return arguments


def failing_handler(arguments: dict[str, Any]) -> str:
    raise RuntimeError("no signal")


async def cancelled_handler(arguments: dict[str, Any]) -> str:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (lambda arguments: "home", "at home"),
        (async_handler, 'at {"exact":true}'),
        (failing_handler, "failed: no signal"),
        (cancelled_handler, "failed: CancelledError"),
        (lambda arguments: "a\x00", "failed: This message contains U+0000."),
        (lambda arguments: "\ud800", "failed: This can't be sent: it has lone surrogates."),
        (lambda arguments: "x" * 1_000_000, "failed: This is too large."),
        (lambda arguments: {"at": [1.5, None]}, 'at {"at":[1.5,null]}'),
        (lambda arguments: {"at": [float("nan")]}, "failed: nan is no number in JSON"),
        (lambda arguments: float("-inf"), "failed: -inf is no number in JSON"),
        (lambda arguments: object(), "failed: Encoding objects of type object"),
    ],
)
async def test_a_handler_makes_the_calls_of_the_agent(handler: Any, said: str) -> None:
    async with listening(plain(app(locating))) as host, connect(f"ws://{host}/ws/chat") as chat:
        chat.tool("locate", handler)
        chat.send("go")
        await until(chat, said)


async def test_a_handler_makes_a_call_that_was_open_before_it_came() -> None:
    async with listening(plain(app(locating))) as host:
        async with connect(f"ws://{host}/ws/chat") as first:
            first.send("go")
            await opened(first)
            session = first.session
        async with connect(f"ws://{host}/ws/chat", session=session) as chat:
            chat.tool("locate", async_handler)
            await until(chat, 'at {"exact":true}')


async def test_a_result_may_be_sent_by_hand_and_the_first_one_wins() -> None:
    async with listening(plain(app(locating))) as host, connect(f"ws://{host}/ws/chat") as chat:
        chat.send("go")
        call = await opened(chat)
        await chat.tool_result(call, "here")
        with pytest.raises(AlreadyAnswered):
            await chat.tool_result(call, error="nowhere")
        await until(chat, "at here")


async def test_an_open_question_is_answered() -> None:
    async with listening(plain(app(asking))) as host, connect(f"ws://{host}/ws/chat") as chat:
        chat.send("go")
        asked = await opened(chat)
        assert chat.questions[0].message == "Which?"
        await chat.answer(asked, "this")
        await until(chat, "this")
        assert chat.questions == []


async def test_answered_questions_are_known_live_and_from_a_snapshot() -> None:
    async with listening(plain(app(asking))) as host:
        async with connect(f"ws://{host}/ws/chat") as chat:
            chat.send("go")
            await chat.answer(await opened(chat), "this")
            await until(chat, "this")
            session, live = chat.session, chat.answered
        assert [(one.message, one.answer.payload) for one in live] == [("Which?", "this")]
        async with connect(f"ws://{host}/ws/chat", session=session) as later:
            assert later.answered == live
            await later.command("clear")
            assert later.answered == []

"""Files that an agent makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import RunContext, tool
from agentws.agents.output import Output
from agentws.errors import NotSupported, QuotaExceeded, TooLarge
from agentws.testing import connect, kind
from tests.runs.asking import answer, questions
from tests.runs.harness import talk

from .calling import ANN, BOB, SESSION, conversation, held, refused, send, served


async def test_an_agent_makes_files_that_the_history_keeps() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"%PDF-1.7 page\n"

    async def agent(ctx: RunContext) -> AsyncIterator[Output]:
        yield "Here:"
        made = await ctx.write_file("../report.pdf", pieces(), type="application/pdf")
        assert (made.name, made.size) == ("report.pdf", 42)
        await ctx.write_file("notes.md", "# Notes")
        assert await made.read(limit=100) == b"%PDF-1.7 page\n" * 3
        yield "done"

    async with served(agent, known=True) as (_, http):
        await send(http, headers=ANN)
        messages = await conversation(http, headers=ANN)
        files = [one for one in messages if one["role"] == "activity"]
        assert {one["activityType"] for one in files} == {"agentws.file"}
        assert [one["content"] for one in files] == [
            {"id": files[0]["id"], "name": "report.pdf", "type": "application/pdf", "size": 42},
            {"id": files[1]["id"], "name": "notes.md", "type": "text/markdown", "size": 7},
        ]
        path = f"/files/{files[0]['id']}"
        got = await http.get(path, headers=ANN)
        assert got.content == b"%PDF-1.7 page\n" * 3
        refused(await http.get(path, headers=BOB), 404, "not_found")


@pytest.mark.parametrize(
    ("changes", "data", "error"),
    [
        ({"max_file_size": 10}, b"x" * 11, TooLarge),
        ({"file_quota": 10}, b"x" * 11, QuotaExceeded),
    ],
)
async def test_what_an_agent_makes_is_within_the_limits(
    changes: dict[str, Any], data: bytes, error: type[Exception]
) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[Output]:
        with pytest.raises(error):
            await ctx.write_file("a", data)
        yield "ok"

    async with served(agent, **changes) as (gateway, http):
        await send(http)
        assert [one["role"] for one in await conversation(http)] == ["user", "assistant"]
        assert held(gateway) == 0


async def test_an_agent_of_a_gateway_without_files_makes_none() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[Output]:
        with pytest.raises(NotSupported):
            await ctx.write_file("a", b"x")
        yield "ok"

    async with talk(agent) as here:
        await here.client.send({"type": "send", "id": "m1", "content": "a"})
        await here.terminal()
        assert await here.texts() == ["ok"]


async def test_a_run_that_is_stopped_while_it_makes_a_file_leaves_nothing() -> None:
    begun = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"begin"
        begun.set()
        await asyncio.Event().wait()

    async def agent(ctx: RunContext) -> AsyncIterator[Output]:
        await ctx.write_file("a", stalled())
        yield "never"

    async with served(agent) as (gateway, http):
        await send(http)
        await begun.wait()
        await http.post(f"/sessions/{SESSION}/cancel", json={})
        await conversation(http)
        assert held(gateway) == 0


@pytest.mark.parametrize("park", [300.0, 0.05], ids=["in memory", "called again"])
async def test_an_agent_that_waits_for_an_answer_makes_each_file_once(park: float) -> None:
    made: list[str] = []

    @tool
    async def archive(ctx: RunContext, name: str) -> str:
        return (await ctx.write_file(name, "from a tool")).id

    async def agent(ctx: RunContext) -> AsyncIterator[Output]:
        for text in ("one", "two"):
            made.append((await ctx.write_file("draft.txt", text)).id)
        made.append(await ctx.call(archive, name="kept.txt"))
        yield await ctx.ask("Which?", choices=["a", "b"])
        await ctx.write_file("draft.txt", "three")

    async with served(agent, park=park) as (gateway, http):
        async with connect(gateway, f"/ws/chat?session={SESSION}") as client:
            await client.say("Draft", "m1")
            (asked,) = await questions(client)
            await asyncio.sleep(0.5)
            await client.ask(answer("a1", asked["id"], "b"))
            await client.until(lambda one: kind(one) == "TEXT_MESSAGE_END")
        messages = await conversation(http)
        files = [one["content"] for one in messages if one["role"] == "activity"]
        assert [one["name"] for one in files] == ["draft.txt", "draft.txt", "kept.txt", "draft.txt"]
        assert held(gateway) == 4
        assert set(made) == {one["id"] for one in files[:3]}

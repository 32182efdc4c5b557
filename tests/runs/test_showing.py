"""What an agent shows besides its text: reasoning, sources and structured parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agentws import RunContext
from agentws.errors import InvalidEvent
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.testing.connect import connect

from .harness import Talk, talk


async def run(one: Talk, text: str = "go", id: str = "m1") -> list[m.Message]:
    """Sends a message; returns what its run added to the conversation."""
    await one.client.say(text, id)
    await one.terminal()
    messages = (await one.check()).messages
    last = max(at for at, message in enumerate(messages) if isinstance(message, m.UserMessage))
    return messages[last + 1 :]


def contents(messages: list[m.Message]) -> list[tuple[str, Any]]:
    return [(message.__struct_config__.tag, message.content) for message in messages]  # type: ignore[misc]


async def test_pieces_of_reasoning_are_one_message_until_text_or_a_tool_comes() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[Any]:
        ctx.reason("")
        ctx.reason("First ")
        ctx.reason("this. ")
        yield "So: "
        ctx.reason("Then ")
        ctx.reason("that.")
        yield e.ToolCallStart("c1", "look")
        ctx.reason("Found.")
        yield "Done."

    async with talk(agent) as one:
        shown = contents(await run(one))
        kinds = await one.kinds()
    assert [(tag, text) for tag, text in shown if text] == [
        ("reasoning", "First this. "),
        ("assistant", "So: "),
        ("reasoning", "Then that."),
        ("reasoning", "Found."),
        ("assistant", "Done."),
    ]
    assert kinds.count("REASONING_MESSAGE_START") == kinds.count("REASONING_MESSAGE_END") == 3


async def test_a_source_is_numbered_and_does_not_interrupt_the_text() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[Any]:
        for url in ("https://example.com/a", "http://example.com/b", "https://example.com/a"):
            yield f"See [{ctx.cite(url, 'A title', excerpt='so it says')}]. "
        ctx.cite("https://example.com/c")

    async with talk(agent) as one:
        shown = await run(one)
        second = await run(one, id="m2")
        async with connect(one.client.app, f"/ws/chat?session={one.session}") as late:
            snapshot = await late.until("MESSAGES_SNAPSHOT")
    assert contents(shown) == [
        ("activity", source(1, "https://example.com/a", title="A title", excerpt="so it says")),
        ("assistant", "See [1]. See [2]. See [1]. "),
        ("activity", source(2, "http://example.com/b", title="A title", excerpt="so it says")),
        ("activity", source(3, "https://example.com/c")),
    ]
    assert contents(second) == contents(shown)
    assert len({message.id for message in [*shown, *second]}) == 8
    kept = [one for one in snapshot["event"]["messages"] if one["role"] == "activity"]
    assert [one["activityType"] for one in kept] == ["agentws.source"] * 6


def source(number: int, url: str, **members: str) -> dict[str, Any]:
    return {"number": number, "url": url, **members}


async def test_a_long_title_and_excerpt_are_cut() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[Any]:
        ctx.cite("https://example.com/", "t" * 1000, excerpt="e" * 10_000)
        yield "fine"

    async with talk(agent) as one:
        content = contents(await run(one))[0][1]
    assert (len(content["title"]), len(content["excerpt"])) == (300, 2000)
    assert content["title"].endswith("t\u2026")


BAD_URLS: list[Any] = [
    "javascript:alert(1)",
    "data:text/html,x",
    "ftp://example.com/",
    "//example.com/",
    "/page",
    "https://",
    "https:///path",
    "https://example.com:99999/",
    "https://[1/",
    "https://example.com/a b",
    "https://example.com/a\nb",
    "https://exa\x00mple.com/",
    "https://example.com/" + "x" * 2048,
    "\ud800",
    "",
    None,
    b"https://example.com/",
]


@pytest.mark.parametrize("url", BAD_URLS, ids=repr)
async def test_only_a_web_address_is_cited(url: Any) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[Any]:
        with pytest.raises(InvalidEvent, match="an http or https URL of at most 2048 characters"):
            ctx.cite(url)
        yield f"next is {ctx.cite('HTTPS://example.com/?q=%C3%BC#x')}"

    async with talk(agent) as one:
        assert ("assistant", "next is 1") in contents(await run(one))


async def test_a_part_is_shown_and_replaced() -> None:
    ids: list[str] = []

    async def agent(ctx: RunContext) -> AsyncIterator[Any]:
        ids.append(ctx.show("chart", {"points": [1]}))
        ids.append(ctx.show("table", {"rows": []}))
        yield "Here."
        ctx.show("chart", {"points": [1, 2]}, id=ids[0])
        ctx.show("note", {"text": "mine"}, id="my-note")

    async with talk(agent) as one:
        shown = await run(one)
    parts = [message for message in shown if isinstance(message, m.ActivityMessage)]
    assert [(part.id, part.activity_type, part.content) for part in parts] == [
        (ids[0], "chart", {"points": [1, 2]}),
        (ids[1], "table", {"rows": []}),
        ("my-note", "note", {"text": "mine"}),
    ]
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    ("shown", "content"),
    [("", {}), ("agentws.source", {}), (None, {}), ("x", [1]), ("x", None), ("x", {"a": object()})],
)
async def test_a_part_that_is_not_valid_is_refused_where_it_is_shown(
    shown: Any, content: Any
) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[Any]:
        with pytest.raises(InvalidEvent):
            ctx.show(shown, content)
        yield "fine"

    async with talk(agent) as one:
        assert contents(await run(one)) == [("assistant", "fine")]


async def test_a_part_that_is_too_large_says_so() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[Any]:
        ctx.show("chart", {"points": "x" * 20_000})
        yield "never"

    async with talk(agent, max_event_size=10_000) as one:
        await one.client.say("go", "m1")
        end = (await one.terminal())["event"]
    assert end["code"] == "too_large" and "ACTIVITY_SNAPSHOT" in end["message"]


LATE: dict[str, Callable[[RunContext], object]] = {
    "reasoning": lambda ctx: ctx.reason("late"),
    "a source": lambda ctx: ctx.cite("https://example.com/"),
    "a part": lambda ctx: ctx.show("chart", {}),
}


@pytest.mark.parametrize("what", LATE)
async def test_nothing_is_shown_after_the_run(what: str) -> None:
    kept: list[RunContext] = []

    async def agent(ctx: RunContext) -> AsyncIterator[Any]:
        kept.append(ctx)
        yield "fine"

    async with talk(agent) as one:
        await run(one)
        with pytest.raises(InvalidEvent, match="has ended"):
            LATE[what](kept[0])


async def test_everything_is_seen_while_the_agent_waits() -> None:
    seen = asyncio.Event()

    async def agent(ctx: RunContext) -> AsyncIterator[Any]:
        ctx.reason("hm")
        ctx.cite("https://example.com/")
        ctx.show("chart", {})
        await seen.wait()
        yield "fine"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        for awaited in ("REASONING_MESSAGE_CONTENT", "ACTIVITY_SNAPSHOT", "ACTIVITY_SNAPSHOT"):
            await one.client.until(awaited)
        seen.set()
        await one.terminal()

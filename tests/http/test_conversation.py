"""The conversation, read page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from .calling import SESSION, answered, say, served

pytestmark = pytest.mark.usefixtures("nodes")


async def test_the_conversation_is_read_page_by_page() -> None:
    async with served() as (_, http):
        for number in range(5):
            await say(http, f"n{number}", f"m{number}")
            await answered(http)
        url = f"/sessions/{SESSION}/messages"
        pages: list[list[str]] = []
        before = None
        while True:
            query = {"limit": 2} | ({} if before is None else {"before": before})
            page = (await http.get(url, params=query)).json()
            assert ("position" in page) == (before is None)
            pages.insert(0, [one["content"] for one in page["messages"]])
            before = page.get("before")
            if before is None:
                break
        everything = (await http.get(url)).json()
        assert [one for page in pages for one in page] == [
            one["content"] for one in everything["messages"]
        ]
        assert len(pages) == 5 and "before" not in everything


async def test_every_page_includes_the_notices_posted_between_its_messages() -> None:
    async with served(alone=True) as (gateway, http):
        session = gateway.session(SESSION)
        positions: list[str] = []
        for number in range(3):
            await say(http, f"n{number}", f"m{number}")
            await answered(http)
            metadata = {"href": f"/{number}"}
            position = await session.push(f"ready {number}", level="warning", metadata=metadata)
            positions.append(position)
        url = f"/sessions/{SESSION}/messages"
        query = {"limit": 2}
        for number in reversed(range(3)):
            page = (await http.get(url, params=query)).json()
            (notice,) = page["notices"]
            assert notice.pop("timestamp")
            assert notice == {
                "position": positions[number],
                "content": f"ready {number}",
                "level": "warning",
                "after": page["messages"][-1]["id"],
                "metadata": {"href": f"/{number}"},
            }
            query["before"] = page.get("before", 0)
        assert query["before"] == 0


async def test_a_page_without_notices_has_no_notices_field() -> None:
    async with served() as (_, http):
        await say(http, "hello")
        await answered(http)
        assert "notices" not in (await http.get(f"/sessions/{SESSION}/messages")).json()


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "before=0", "before=1e3"])
async def test_an_invalid_page_query_is_refused(query: str) -> None:
    async with served() as (_, http):
        await say(http, "hello")
        response = await http.get(f"/sessions/{SESSION}/messages?{query}")
        assert response.status_code == 400 and response.json()["expected"]


async def test_pages_of_large_messages_have_a_bounded_size_and_are_complete() -> None:
    async def agent(ctx: Any) -> AsyncIterator[str]:
        yield ctx.text[-1] * 40_000

    async with served(agent) as (_, http):
        for number in range(9):
            await say(http, f"m{number}", id=f"m{number}")
            await answered(http)
        seen: list[str] = []
        query: dict[str, Any] = {"limit": 200}
        while True:
            page = await http.get(f"/sessions/{SESSION}/messages", params=query)
            assert len(page.content) <= 192 * 1024
            seen[:0] = [one["content"][:2] for one in page.json()["messages"]]
            if "before" not in page.json():
                break
            query["before"] = page.json()["before"]
    assert seen == [text for number in range(9) for text in (f"m{number}", f"{number}" * 2)]

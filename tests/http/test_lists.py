"""The list of one's own sessions: paged, searched."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from agentws import Limits, MemoryStore
from agentws.store import Store

from .calling import ANN, BOB, KEYS, answered, client, say, served

pytestmark = pytest.mark.usefixtures("nodes")


async def test_own_sessions_are_listed_newest_first_and_paged() -> None:
    async with served(authenticate=KEYS) as (gateway, _):
        ann, bob = client(gateway, **ANN), client(gateway, **BOB)
        ids = [f"ses_000000000000000{number}" for number in range(5)]
        for id in ids:
            await say(ann, "hello", session=id)
            await answered(ann, session=id)
        await say(bob, "hello", session="ses_of_bob_0123456789")
        seen: list[str] = []
        query: dict[str, int | str] = {"limit": 2}
        while True:
            page = (await ann.get("/sessions", params=query)).json()
            seen += [one["id"] for one in page["sessions"]]
            if "before" not in page:
                break
            query["before"] = page["before"]
        assert seen == ids[::-1]
        one = (await bob.get("/sessions")).json()["sessions"][0]
        assert one["createdAt"].endswith("Z") and one["agent"] == "agent"
        assert "owner" not in one


async def test_sessions_with_the_same_update_time_are_all_listed() -> None:
    async with served(authenticate=KEYS, store=MemoryStore(clock=lambda: 1000.5)) as (gateway, _):
        ann = client(gateway, **ANN)
        ids = {f"ses_~.-0000000000000{number}" for number in range(5)}
        for id in ids:
            await say(ann, "hello", session=id)
            await answered(ann, session=id)
        seen: list[str] = []
        page = (await ann.get("/sessions", params={"limit": 2})).json()
        while "before" in page:
            seen += [one["id"] for one in page["sessions"]]
            page = (await ann.get(f"/sessions?limit=2&before={page['before']}")).json()
        seen += [one["id"] for one in page["sessions"]]
        assert sorted(seen) == sorted(ids)


async def test_own_sessions_are_searched() -> None:
    async with served(authenticate=KEYS) as (gateway, _):
        ann, bob = client(gateway, **ANN), client(gateway, **BOB)
        ids = [f"ses_0123456789abcde{number}" for number in range(5)]
        for id, text in zip(ids, ["Oslo", "Bergen", "Oslo again", "Oslo too", "Riga"], strict=True):
            await say(ann, text, session=id)
            await answered(ann, session=id)
        await say(bob, "Oslo", session="ses_bob_0123456789")
        await answered(bob, session="ses_bob_0123456789")

        async def searched(http: Any, **query: Any) -> list[str]:
            page = (await http.get("/sessions", params=query)).json()
            return [one["id"] for one in page["sessions"]]

        assert await searched(ann, query="oslo") == [ids[3], ids[2], ids[0]]
        assert await searched(bob, query="oslo") == ["ses_bob_0123456789"]
        assert await searched(ann, query="OSLO ag") == [ids[2]]
        for nothing in ("paris", '"', "oslo riga", "*"):
            assert await searched(ann, query=nothing) == []
        for everything in ("", "  "):
            assert len(await searched(ann, query=everything)) == 5
        page = (await ann.get("/sessions", params={"query": "oslo", "limit": 2})).json()
        assert [one["id"] for one in page["sessions"]] == [ids[3], ids[2]]
        assert await searched(ann, query="oslo", limit=2, before=page["before"]) == [ids[0]]


async def test_an_anonymous_caller_finds_nothing() -> None:
    async with served() as (_, http):
        await say(http, "hello")
        await answered(http)
        assert (await http.get("/sessions?query=hello")).json() == {"sessions": []}


async def test_a_query_that_is_too_long_is_refused() -> None:
    async with served(authenticate=KEYS) as (gateway, _):
        response = await client(gateway, **ANN).get("/sessions", params={"query": "x" * 501})
        assert response.status_code == 400 and "500" in response.json()["expected"]


async def test_a_store_that_can_not_search_says_so() -> None:
    class Plain(MemoryStore):
        search = Store.search

    async with served(authenticate=KEYS, store=Plain()) as (gateway, _):
        response = await client(gateway, **ANN).get("/sessions", params={"query": "x"})
        assert response.status_code == 501 and response.json()["code"] == "not_supported"
        assert (await client(gateway, **ANN).get("/sessions")).status_code == 200


BAD_CURSORS = {
    "empty": "",
    "a time": "1762079460.456",
    "not base64": "%%%",
    "not a pair": "WzFd",
    "no time": base64.urlsafe_b64encode(b'["now","ses_0000000000000000"]').decode(),
    "no number": base64.urlsafe_b64encode(b'[NaN,"ses_0000000000000000"]').decode(),
    "no id": base64.urlsafe_b64encode(b'[1.5,"\\u0000"]').decode(),
    "not ASCII": "é",
}


@pytest.mark.parametrize("cursor", BAD_CURSORS.values(), ids=BAD_CURSORS)
async def test_a_list_with_an_invalid_cursor_is_refused(cursor: str) -> None:
    async with served(authenticate=KEYS) as (gateway, _):
        response = await client(gateway, **ANN).get("/sessions", params={"before": cursor})
        assert response.status_code == 400 and response.json()["expected"]


async def test_anonymous_sessions_are_not_listed() -> None:
    async with served() as (_, http):
        await say(http, "hello")
        assert (await http.get("/sessions")).json() == {"sessions": []}


async def test_pages_of_sessions_with_large_metadata_have_a_bounded_size_and_are_complete() -> None:
    limits = Limits(byte_rate=1e9)
    async with served(authenticate=KEYS, headers=ANN, limits=limits) as (_, http):
        ids = [f"a-session-number-{number:02}" for number in range(12)]
        for id in ids:
            await say(http, "/help", session=id)
            change = {"metadata": {"k": "x" * 30_000}}
            assert (await http.patch(f"/sessions/{id}", json=change)).status_code == 200
        seen: list[str] = []
        query: dict[str, Any] = {"limit": 200}
        while True:
            page = await http.get("/sessions", params=query)
            assert len(page.content) <= 192 * 1024
            seen += [one["id"] for one in page.json()["sessions"]]
            if "before" not in page.json():
                break
            query["before"] = page.json()["before"]
    assert sorted(seen) == ids

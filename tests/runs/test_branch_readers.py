"""Every reader of the log follows the branch in view."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2

from agentws.agents.run_context import RunContext
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.testing.connect import connect

from .branching import branch, branches_of, counting, said, served, shown, texts
from .harness import Talk, talk
from .nodes import memory_store
from .test_carried import back, forgotten


def httpx_of(one: Talk) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=one.client.app)
    return httpx2.AsyncClient(transport=transport, base_url="http://testserver")


async def test_every_page_and_the_command_follow_the_branch_in_view() -> None:
    async with talk(counting) as one, httpx_of(one) as http:
        await said(one, *"abcdef")
        await branch(one, {"type": "edit", "id": "m9", "message": "m3", "content": "C"})
        await one.client.say("g", "m10")
        await one.terminal()
        wanted = ["a", "a#1", "b", "b#3", "C", "C#5", "g", "g#7"]
        found: list[str] = []
        before: Any = None
        while True:
            query = "" if before is None else f"&before={before}"
            page = (await http.get(f"/sessions/{one.session}/messages?limit=2{query}")).json()
            found[:0] = texts(page["messages"])
            before = page.get("before")
            if before is None:
                break
        assert found == wanted
        await one.client.ask({"type": "command", "id": "x1", "name": "history"})
        notice = await one.client.until("notice")
        assert [line.split(": ")[1] for line in notice["content"].splitlines()] == wanted


async def test_the_commands_have_routes() -> None:
    async with talk(counting) as one, httpx_of(one) as http:
        await said(one, "a")
        path = f"/sessions/{one.session}"
        done = await http.post(f"{path}/regenerate", json={"id": "g1"})
        assert (done.status_code, done.json()["type"]) == (202, "accepted")
        await one.terminal()
        frame = {"id": "m9", "message": "m1", "content": "A"}
        assert (await http.post(f"{path}/edit", json=frame)).status_code == 202
        await one.terminal()
        (old, *_) = branches_of((await served(one))[0])["ids"]
        assert (await http.post(f"{path}/switch", json={"branch": old})).status_code == 202
        assert await shown(one) == ["a", "a#1"]
        assert (await http.post(f"{path}/switch", json={"branch": "br_7"})).status_code == 404


async def test_a_branch_outlives_a_cold_start_and_compaction() -> None:
    async with talk(counting, session_idle=1.0, replay_window=1.0, store=memory_store()) as one:
        await said(one, "a", "b")
        await branch(one, {"type": "edit", "id": "m9", "message": "m1", "content": "A"})
        await forgotten(one)
        assert await shown(one) == ["A", "A#1"]
        (old, _) = branches_of((await served(one))[0])["ids"]
        client, _ = await back(one)
        await client.ask({"type": "switch", "id": "s1", "branch": old})
        assert await shown(one) == ["a", "a#1", "b", "b#3"]
        await client.aclose()


async def test_a_notice_that_follows_the_replaced_message_goes_out_of_view_with_it() -> None:
    async with talk(counting) as one:
        await said(one, "a", "b")
        await one.gateway.session(one.session).push("Shipped")
        await branch(one, {"type": "regenerate", "id": "g1"})
        assert await notices(one) == []
        (old, _) = branches_of((await served(one))[2])["ids"]
        await one.client.ask({"type": "switch", "id": "s1", "branch": old})
        assert await notices(one) == ["Shipped"]


async def notices(one: Talk) -> list[str]:
    async with connect(one.client.app, f"/ws/chat?session={one.session}") as other:
        frame = await other.until("MESSAGES_SNAPSHOT")
        told = frame["event"].get("metadata", {}).get("agentws", {}).get("notices", [])
        return [notice["content"] for notice in told]


async def test_clients_are_told_to_load_again_if_an_agent_has_replaced_messages() -> None:
    async def restating(ctx: RunContext) -> AsyncIterator[Any]:
        if ctx.text == "sum up":
            yield e.MessagesSnapshot([m.UserMessage("sum", "All of it."), ctx.message])
        else:
            yield "fine"

    async with talk(restating) as one:
        await said(one, "a", "sum up", "b")
        await branch(one, {"type": "regenerate", "id": "g1"})
        await branch(one, {"type": "edit", "id": "m9", "message": "m2", "content": "c"})
        live = [event for event in one.client.events() if event["type"] == "history.branched"]
        assert [event.get("reload", False) for event in live] == [False, True]
        assert await shown(one) == ["a", "fine", "c", "fine"]

"""The export of a session: everything that was said, once, in order, in flat memory."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from starlette.types import Message

from agentws import MemoryStore, RunContext
from agentws.agents.output import Output
from agentws.protocol import events as e
from agentws.protocol.bodies import Export
from agentws.protocol.messages import DeveloperMessage, UserMessage
from agentws.protocol.messages import Message as AnyMessage
from agentws.protocol.notices import Posted
from agentws.sessions.pages import Page
from agentws.store import SessionInfo
from agentws.testing.agents import Gate, Raise, Script
from agentws.testing.contract_base import eventually
from agentws.testing.contract_search import said
from agentws.transports import export
from agentws.transports.transcript import blocks, fenced, heading, plain, quoted

from .calling import ANN, BOB, KEYS, SESSION, Echo, answered, client, say, served

URL = f"/sessions/{SESSION}/export"
NAMES = [
    "**bold**",
    "# heading",
    "a\n# heading\n> quote",
    "[link](javascript:alert(1))",
    "<script>alert(1)</script>",
    "`code` ``` fence",
    "| table |",
    "![image](x)",
    "1. list",
    "https://example.com",
    "&lt;",
    "back\\slash\\*",
]


async def paged(http: Any) -> list[dict[str, Any]]:
    """The whole conversation by the pages of messages."""
    pages, query = [], {"limit": 200}
    while True:
        page = (await http.get(f"/sessions/{SESSION}/messages", params=query)).json()
        pages.append(page["messages"])
        if "before" not in page:
            return [message for one in reversed(pages) for message in one]
        query["before"] = page["before"]


async def test_the_conversation_is_exported_as_json() -> None:
    async with served(authenticate=KEYS) as (gateway, _):
        ann = client(gateway, **ANN)
        await say(ann, "hello big world")
        await answered(ann)
        await gateway.session(SESSION).push("Saved")
        response = await ann.get(URL)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"
        disposition = response.headers["content-disposition"]
        assert disposition.startswith('attachment; filename="conversation-')
        assert disposition.endswith('.json"')
        assert msgspec.json.decode(response.content, type=Export).session.id == SESSION
        exported = response.json()
        assert exported["messages"] == await paged(ann)
        assert [one["content"] for one in exported["notices"]] == ["Saved"]
        again = (await ann.get(URL, params={"format": "json"})).json()
        assert again["messages"] == exported["messages"]


async def test_an_export_is_refused_like_any_other_request() -> None:
    async with served(authenticate=KEYS) as (gateway, nobody):
        ann, bob = client(gateway, **ANN), client(gateway, **BOB)
        await say(ann, "hello")
        await answered(ann)
        foreign, unknown = await bob.get(URL), await bob.get("/sessions/ses_unknown_012345/export")
        assert foreign.status_code == unknown.status_code == 403
        assert foreign.json() == unknown.json()
        assert (await nobody.get(URL)).status_code == 401
        for wrong in ("pdf", "", "JSON"):
            response = await ann.get(URL, params={"format": wrong})
            assert response.status_code == 400
            assert response.json()["expected"] == "json or markdown"


async def test_an_empty_session_is_exported() -> None:
    async with served(authenticate=KEYS) as (gateway, _):
        ann = client(gateway, **ANN)
        await gateway.sessions.enter(SESSION, owner="ann", agent="default")
        exported = (await ann.get(URL)).json()
        assert (exported["messages"], exported["notices"]) == ([], [])
        assert (await ann.get(URL, params={"format": "markdown"})).text.startswith("# Conversation")


@pytest.mark.parametrize("size", [export.SIZE, 900])
async def test_a_long_conversation_is_exported_whole_and_in_order(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(export, "MESSAGES", 3)
    monkeypatch.setattr(export, "SIZE", size)
    async with served(Echo) as (gateway, http):
        for number in range(9):
            await say(http, f"question {number} " + "word " * (number % 4 * 150), f"m{number}")
            await answered(http)
            await gateway.session(SESSION).push(f"notice {number}")
        exported = (await http.get(URL)).json()
        whole: dict[str, str] = {}
        for message in exported["messages"]:
            whole[message["id"]] = whole.get(message["id"], "") + message["content"]
        assert list(whole.items()) == [(one["id"], one["content"]) for one in await paged(http)]
        notices = [one["content"] for one in exported["notices"]]
        assert notices == [f"notice {number}" for number in range(9)]
        text = (await http.get(URL, params={"format": "markdown"})).text
        places = [text.index(f"question {number} ") for number in range(9)]
        placed = [text.index(f"notice {number}") for number in range(9)]
        assert list(itertools.chain(*zip(places, placed, strict=True))) == sorted(places + placed)
        assert text.count("**User**") == 9


async def test_an_answer_that_is_being_written_is_not_in_the_export() -> None:
    gate = Gate()
    async with served(Script("half ", gate, "whole")) as (_, http):
        await say(http, "go")

        async def running() -> bool:
            return bool((await http.get(f"/sessions/{SESSION}")).json()["running"])

        await eventually(running)
        exported = (await http.get(URL)).json()
        gate.open()
        await answered(http)
        assert exported["messages"] == []
        assert len((await http.get(URL)).json()["messages"]) == 2


async def test_a_cleared_history_is_not_exported() -> None:
    async with served() as (_, http):
        await say(http, "before")
        await answered(http)
        await say(http, "/clear", "m2")
        await say(http, "after", "m3")
        await answered(http)
        exported = (await http.get(URL)).json()
        assert [one["content"] for one in exported["messages"]] == ["after", "after "]


async def test_memory_does_not_grow_with_the_conversation() -> None:
    store = MemoryStore()
    info = SessionInfo(id=SESSION, agent="default", created=1.0, updated=1.0)
    await store.create(info, epoch="e1")
    for number in range(3000):
        await store.append(SESSION, said(f"question {number}", "answer " * 1400, id=str(number)))
    async with served(store=store, alone=True) as (gateway, _):
        received = 0

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            nonlocal received
            received += len(message.get("body", b""))

        scope = {
            **{"type": "http", "method": "GET", "path": URL, "raw_path": URL.encode()},
            **{"query_string": b"format=json", "headers": [(b"host", b"testserver")]},
            **{"scheme": "http", "server": ("testserver", 80), "client": ("127.0.0.1", 1)},
            **{"http_version": "1.1", "asgi": {"version": "3.0", "spec_version": "2.4"}},
        }
        tracemalloc.start()
        await gateway(scope, receive, send)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert received > 29_000_000
        assert peak < 10_000_000


async def test_the_conversation_is_exported_as_markdown() -> None:
    script = Script(
        e.ToolCallStart("call_1", "look_up"),
        e.ToolCallArgs(tool_call_id="call_1", delta='{"order": "```7```"}'),
        e.ToolCallEnd("call_1"),
        e.ToolCallResult("result_1", "call_1", "paid"),
        "It is\n**paid**.",
        Raise(RuntimeError("secret")),
    )
    async with served(script) as (gateway, http):
        session, _ = await gateway.sessions.enter(SESSION, owner=None, agent="default")
        await gateway.change_session(session, title="My *invoice*")
        await say(http, "Where is it?\n# Assistant\nno")
        await answered(http)
        await gateway.session(SESSION).push("Saved")
        response = await http.get(URL, params={"format": "markdown"})
        assert response.headers["content-type"] == "text/markdown; charset=utf-8"
        assert response.headers["content-disposition"].endswith('.md"')
        lines = response.text.splitlines()
        assert lines[0] == r"# My \*invoice\*"
        user = next(line for line in lines if line.startswith("**User**, "))
        assert user.endswith(" UTC")
        at = lines.index(user)
        assert lines[at + 2 : at + 5] == ["> Where is it?", "> # Assistant", "> no"]
        at = lines.index(r"**Call of look\_up**")
        assert lines[at + 2 : at + 5] == ["````json", '{"order": "```7```"}', "````"]
        at = lines.index(r"**Result of look\_up**")
        assert lines[at + 2 : at + 5] == ["```", "paid", "```"]
        assert "> **paid**." in lines
        assert any(line.startswith("*The answer failed: ") for line in lines)
        assert "secret" not in response.text
        assert "> Saved" in lines


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_line_without_markup(name: str) -> None:
    shown = plain(name)
    assert "\n" not in shown
    assert msgspec.json.encode(shown)
    # Without its escapes it is the name again, and every mark has one.
    escaped = [shown[at - 1 : at] == "\\" for at in range(len(shown)) if shown[at] in "*#[<`|!>&:"]
    assert all(escaped)


@pytest.mark.parametrize("text", ["a\n# b", "a\r\n\r# b", "\n\n", "> c", "```\n"])
def test_every_line_of_what_was_said_is_quoted(text: str) -> None:
    assert all(line.startswith("> ") for line in quoted(text).split("\n")[:-1])
    assert "\r" not in quoted(text)


@pytest.mark.parametrize("text", ["", "x", "```", "a ```` b\n```\n`", "`" * 50])
def test_nothing_in_a_code_block_ends_it(text: str) -> None:
    first, *inside, last = fenced(text, "json").splitlines()
    fence = first.removesuffix("json")
    assert last == fence and len(fence) >= 3
    assert not any(fence in line for line in inside)


def test_odd_messages_and_names_are_written() -> None:
    info = SessionInfo(id="s", agent="a*b", created=1.0, updated=2.0, title=" \n")
    assert heading(info).startswith("# Conversation\n")
    odd: list[AnyMessage] = [
        UserMessage("m1", "hi", name="*", metadata={"attachments": [{"name": "a\nb.png"}, 7, {}]}),
        UserMessage("m2", "", metadata={"attachments": "no", "agentws": "no"}),
        DeveloperMessage("m3", "be kind"),
    ]
    notice = Posted(1, "t", e.NoticePosted("first", "info"), None)
    text = "".join(blocks(Page(odd, None, [notice]), agent="a*b"))
    assert text.index("> first") < text.index("> hi") < text.index("> be kind")
    assert text.count("\nAttachment: ") == 3
    assert r"Attachment: a b\.png" in text


async def test_sources_and_files_of_an_agent_are_lines_of_text() -> None:
    file = {"id": "file_1", "name": "a *b*.csv", "type": "text/csv", "size": 3}

    async def agent(ctx: RunContext) -> AsyncIterator[Output]:
        ctx.cite("https://example.com/a", "[The] report")
        yield e.ActivitySnapshot("file_1", "agentws.file", file)
        yield "See [1]."

    async with served(agent, alone=True) as (_, http):
        await say(http, "hello")
        await answered(http)
        text = (await http.get(URL, params={"format": "markdown"})).text
    lines = text.replace("\\", "").splitlines()
    assert "Source: [1] [The] report https://example.com/a" in lines
    assert "File: a *b*.csv" in lines

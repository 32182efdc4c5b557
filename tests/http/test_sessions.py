"""The routes of sessions: send, read, page, rename, delete, list; and who may use them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from agentws import BearerKeys, Limits, MemoryStore, RunContext
from agentws.agents.commands import Command, CommandContext
from agentws.protocol.events import RunFinished
from agentws.protocol.messages import Interrupt, InterruptOutcome
from agentws.protocol.position import parse_position
from agentws.store import Store
from agentws.testing.agents import Gate, Script
from agentws.testing.connect import connect
from agentws.testing.contract_base import eventually

from .calling import POLL, SESSION, Echo, answered, client, say, served

pytestmark = pytest.mark.usefixtures("nodes")

KEYS = BearerKeys({"ann-key": "ann", "bob-key": "bob"})
ANN = {"authorization": "Bearer ann-key"}
BOB = {"authorization": "Bearer bob-key"}


async def test_a_message_is_accepted_and_answered() -> None:
    async with served() as (gateway, http):
        response = await say(http, "hello big world")
        accepted = response.json()
        assert response.status_code == 202
        assert accepted["type"] == "accepted" and accepted["reply"] == "m1"
        assert accepted["durability"] == "process" and "duplicate" not in accepted
        assert parse_position(accepted["position"]).seq == 1
        messages = await answered(http)
        assert [(one["role"], one["content"]) for one in messages] == [
            ("user", "hello big world"),
            ("assistant", "hello big world "),
        ]


async def test_a_repeated_message_is_deduplicated() -> None:
    script = Script("once")
    async with served(script) as (_, http):
        first = (await say(http, "hello")).json()
        responses = await asyncio.gather(*(say(http, "hello") for _ in range(10)))
        assert {one.status_code for one in responses} == {202}
        assert all(one.json() == {**first, "duplicate": True} for one in responses)
        await answered(http)
        assert script.texts == ["hello"]


async def test_a_reused_idempotency_key_with_another_body_is_refused() -> None:
    async with served() as (_, http):
        await say(http, "hello")
        response = await say(http, "goodbye")
        assert response.status_code == 409
        assert response.json()["code"] == "idempotency_conflict"


async def test_a_message_repeated_over_another_transport_is_deduplicated() -> None:
    async with served() as (gateway, http), connect(gateway, f"/ws/chat?session={SESSION}") as ws:
        over_http = (await say(http, "hello")).json()
        over_socket = await ws.say("hello", "m1")
        assert over_socket == {**over_http, "duplicate": True}


@pytest.mark.parametrize("content", ["/help", "ping", "/whoami", "/history"])
async def test_a_slash_command_is_answered_in_the_response(content: str) -> None:
    async with served() as (gateway, http):
        response = await say(http, content)
        assert response.status_code == 200
        notice = response.json()
        assert notice["type"] == "notice" and notice["reply"] == "m1" and notice["content"]
        session = await gateway.sessions.find(SESSION)
        assert session.head.seq == 0


async def test_an_unknown_slash_command_is_refused() -> None:
    async with served() as (_, http):
        response = await say(http, "/hepl")
        assert response.status_code == 400
        assert response.json()["code"] == "unknown_command"
        assert "/help" in response.json()["expected"]


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b"", "id"),
        (b"{}", "id"),
        (b"[]", "object"),
        (b"nonsense", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b'{"id":"m1"}', "content"),
        (b'{"id":"m1","content":7}', "content"),
        (b'{"id":"","content":"x"}', "characters"),
        (b'{"id":"%b","content":"x"}' % (b"m" * 129), "characters"),
        (b'{"id":"m1","content":"  "}', "text"),
        (b'{"id":"m1","content":[]}', "text"),
        (b'{"id":"m1","content":"/"}', "/help"),
        (b'{"id":"m1","content":"\\u0000"}', "U+0000"),
        (b'{"id":"m1","content":"x","overlap":"never"}', "overlap"),
        (b'{"type":"cancel","id":"m1","content":"x"}', "type"),
        (b'{"id":"m1","content":"x","metadata":%b1%b}' % (b'{"a":' * 40, b"}" * 40), "deep"),
        (b'{"id":"m1","content":"x"} {}', "JSON"),
    ],
)
async def test_an_invalid_message_is_refused_with_what_was_expected(body: bytes, hint: str) -> None:
    async with served() as (gateway, http):
        headers = {"content-type": "application/json"}
        url = f"/sessions/{SESSION}/messages"
        response = await http.post(url, content=body, headers=headers)
        error = response.json()
        assert response.status_code == 400 and error["code"] == "bad_request"
        assert error["retryable"] is False
        assert hint in error["message"] + error.get("expected", "")
        assert (await http.get(f"/sessions/{SESSION}")).status_code == 403


@pytest.mark.parametrize("id", ["short", "x" * 129, "with space in it....", "%00" * 16])
async def test_an_invalid_session_id_is_refused(id: str) -> None:
    async with served() as (_, http):
        assert (await say(http, "hello", session=id)).status_code == 400
        for suffix in ("", "/messages", "/events"):
            response = await http.get(f"/sessions/{id}{suffix}")
            assert response.status_code == 403


async def test_a_full_queue_answers_429_with_retry_after() -> None:
    gate = Gate()
    async with served(Script(gate), limits=Limits(max_queued=1), alone=True) as (_, http):
        await say(http, "one", "m1")
        await gate.reached()
        assert (await say(http, "two", "m2")).status_code == 202
        response = await say(http, "three", "m3")
        assert response.status_code == 429 and response.headers["retry-after"] == "1"
        assert response.json()["retryAfter"] == 1.0 and response.json()["retryable"] is True
        again = await say(http, "two", "m2")
        assert again.status_code == 202 and again.json()["duplicate"] is True
        page = (await http.get(f"/sessions/{SESSION}/messages")).json()
        assert [one["content"] for one in page["queued"]] == ["two"]
        gate.open()


async def test_the_queue_is_edited_and_moved() -> None:
    gate = Gate()
    script = Script(gate)
    async with served(script, alone=True) as (_, http):
        for number, text in enumerate(["one", "two", "three"]):
            await say(http, text, f"m{number}")
        await gate.reached()
        url = f"/sessions/{SESSION}/queue"
        edit = {"message": "m1", "content": "edited", "id": "e1"}
        edited = await http.post(f"{url}/edit", json=edit)
        assert (edited.status_code, edited.json()["reply"]) == (202, "e1")
        moved = await http.post(f"{url}/promote", json={"message": "m2"})
        assert moved.status_code == 202
        page = (await http.get(f"/sessions/{SESSION}/messages")).json()
        assert [one["content"] for one in page["queued"]] == ["three", "edited"]
        for body, status in (({**edit, "message": "m0"}, 404), ({**edit, "content": " "}, 400)):
            assert (await http.post(f"{url}/edit", json=body)).status_code == status
        gate.open()
        await answered(http)


async def test_a_run_can_be_cancelled() -> None:
    gate = Gate()
    async with served(Script("partial ", gate)) as (_, http):
        await say(http, "go")
        await gate.reached()
        url = f"/sessions/{SESSION}/cancel"
        assert (await http.get(f"/sessions/{SESSION}")).json()["running"] is True
        response = await http.post(url, json={"message": "m1", "id": "c1"})
        assert response.status_code == 202 and response.json()["reply"] == "c1"
        messages = await answered(http)
        assert messages[-1]["content"] == "partial "
        assert messages[-1]["metadata"]["agentws"]["status"] == "cancelled"
        late = await http.post(url, headers={"content-type": "application/json"})
        assert late.status_code == 202


async def test_an_agents_question_can_be_answered_once() -> None:
    question = Interrupt(id="int_1", reason="approval")
    finished = RunFinished("", "", outcome=InterruptOutcome([question]))
    # The run that the answer starts asks the same question again, maybe before the next line.
    async with served(Script(finished), alone=True) as (_, http):
        await say(http, "go")
        await answered(http)
        url = f"/sessions/{SESSION}/answers"
        body = {"interrupt": "int_1", "payload": {"ok": True}}
        first = await http.post(url, json=body)
        assert first.status_code == 202
        again = await http.post(url, json=body)
        assert again.json() == {**first.json(), "duplicate": True}
        other = await http.post(url, json={"interrupt": "int_1", "status": "cancelled"})
        assert other.status_code == 409 and other.json()["code"] == "already_answered"
        unknown = await http.post(url, json={"interrupt": "int_2"})
        assert unknown.status_code == 404


async def test_a_clients_tool_gets_its_result_once() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield f"It is {await ctx.client_tool('clock')}."

    async with served(agent) as (_, http):
        await say(http, "go")
        (call,) = (await answered(http))[-1]["toolCalls"]
        url = f"/sessions/{SESSION}/tool-results"
        body = {"toolCallId": call["id"], "content": "noon"}
        first = await http.post(url, json=body)
        assert first.status_code == 202
        again = await http.post(url, json=body)
        assert again.json() == {**first.json(), "duplicate": True}
        other = await http.post(url, json={"toolCallId": call["id"], "error": "broken"})
        assert other.status_code == 409 and other.json()["code"] == "already_answered"
        assert (await http.post(url, json={"toolCallId": call["id"]})).status_code == 400
        unknown = await http.post(url, json={"toolCallId": "call_0", "content": "x"})
        assert unknown.status_code == 404
        assert (await answered(http))[-1]["content"] == "It is noon."


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


async def test_a_session_can_be_renamed() -> None:
    async with served(alone=True) as (gateway, http):
        await say(http, "hello")
        await answered(http)
        url = f"/sessions/{SESSION}"
        before = (await http.get(url)).json()["position"]
        response = await http.patch(url, json={"title": "Trip", "metadata": {"pinned": True}})
        assert response.status_code == 200
        assert response.json()["title"] == "Trip"
        assert (await http.patch(url, json={"metadata": {}})).json()["title"] == "Trip"
        poll = await http.get(f"{url}/events?after={before}", headers=POLL)
        updates = [frame["event"] for frame in poll.json()["events"]]
        assert [one["type"] for one in updates] == ["session.updated"] * 2
        assert updates[0]["title"] == "Trip"
        changes: list[object] = [{}, {"title": 7}, {"title": None}, {"title": "x" * 201}]
        for bad in [*changes, {"metadata": []}]:
            assert (await http.patch(url, json=bad)).status_code == 400


async def test_the_retention_of_a_session_can_be_changed() -> None:
    limits = Limits(session_retention=1000)
    async with served(limits=limits) as (_, http):
        await say(http, "hello")
        await answered(http)
        url = f"/sessions/{SESSION}"
        assert "retention" not in (await http.get(url)).json()
        assert (await http.patch(url, json={"retention": 500})).json()["retention"] == 500
        assert (await http.patch(url, json={"title": "Trip"})).json()["retention"] == 500
        assert "retention" not in (await http.patch(url, json={"retention": None})).json()
        refused: list[object] = [0, -5, "500", [], True]
        for bad in refused:
            assert (await http.patch(url, json={"retention": bad})).status_code == 400
        response = await http.patch(url, json={"retention": 1001})
        assert response.status_code == 400 and "1000" in response.json()["expected"]
        assert "retention" not in (await http.get(url)).json()


async def test_the_id_of_a_deleted_session_can_not_be_used_again() -> None:
    async with served(alone=True) as (_, http):
        await say(http, "hello")
        await answered(http)
        url = f"/sessions/{SESSION}"
        response = await http.delete(url)
        assert response.status_code == 204 and response.content == b""
        for response in (await http.get(url), await http.delete(url), await say(http, "again")):
            assert response.status_code == 403


async def test_a_foreign_session_is_refused_like_an_unknown_one() -> None:
    async with served(authenticate=KEYS) as (gateway, _):
        ann, bob = client(gateway, **ANN), client(gateway, **BOB)
        await say(ann, "hello")
        await answered(ann)
        for method, suffix, body in (
            ("GET", "", None),
            ("PATCH", "", {"title": "mine"}),
            ("DELETE", "", None),
            ("GET", "/messages", None),
            ("GET", "/events", None),
            ("POST", "/cancel", {}),
            ("POST", "/answers", {"interrupt": "int_1"}),
            ("POST", "/tool-results", {"toolCallId": "call_1", "content": "x"}),
            ("POST", "/queue/edit", {"message": "m1", "content": "x"}),
            ("POST", "/queue/promote", {"message": "m1"}),
        ):
            foreign = await bob.request(method, f"/sessions/{SESSION}{suffix}", json=body)
            unknown = await bob.request(method, f"/sessions/ses_nobody_has_it{suffix}", json=body)
            assert foreign.status_code == unknown.status_code == 403
            assert foreign.json() == unknown.json()
        assert (await say(bob, "hello")).status_code == 403
        assert (await ann.get(f"/sessions/{SESSION}")).status_code == 200


async def test_a_draining_node_refuses_new_work() -> None:
    async with served(alone=True) as (gateway, http):
        await say(http, "hello")
        await answered(http)
        await gateway.drain()
        for response in (
            await say(http, "more", "m2"),
            await say(http, "/help", "m3"),
            await http.get(f"/sessions/{SESSION}/events"),
            await http.post(f"/sessions/{SESSION}/answers", json={"interrupt": "int_1"}),
        ):
            assert response.status_code == 503 and response.json()["code"] == "draining"
            assert response.headers["retry-after"] == "1"
        assert (await http.get(f"/sessions/{SESSION}/messages")).status_code == 200
        await gateway.stop()
        assert (await http.get(f"/sessions/{SESSION}/messages")).status_code == 503


class Clerk(Echo):
    def __init__(self, refunds: list[str]) -> None:
        self._refunds = refunds

    def commands(self) -> Sequence[Command]:
        return [Command("refund", "Pays back", self.refund)]

    async def refund(self, context: CommandContext, args: str) -> str:
        if args == "never":
            raise TimeoutError
        self._refunds.append(args)
        return f"refund {len(self._refunds)}: {args}"


async def test_an_agents_slash_command_is_deduplicated_by_its_id() -> None:
    refunds: list[str] = []
    async with served(lambda: Clerk(refunds)) as (_, http):
        said = [(await say(http, "/refund 42", "c1")).json() for _ in range(3)]
        assert [one["type"] for one in said] == ["notice"] * 3
        assert said[0]["content"] == "refund 1: 42"
        assert said[1] == said[2] and "not run again" in said[1]["content"]
        assert (await say(http, "/refund 43", "c1")).json()["code"] == "idempotency_conflict"
        assert (await say(http, "/refund 42", "c2")).json()["content"] == "refund 2: 42"
        failed = await say(http, "/refund never", "c3")
        assert (failed.status_code, failed.json()["retryable"]) == (500, False)


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


async def test_a_client_without_a_stream_sees_the_open_questions_and_answers() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield f"A {await ctx.ask('Which size?', choices=['small', 'large'])} one, then."

    async with served(agent, alone=True) as (_, http):
        url = f"/sessions/{SESSION}"

        async def page() -> dict[str, Any]:
            found: dict[str, Any] = (await http.get(f"{url}/messages")).json()
            return found

        async def goes_on() -> bool:
            messages = (await page())["messages"]
            return bool(messages[1:]) and messages[-1]["content"] == "A small one, then."

        async def asked() -> bool:
            return "interrupts" in await page()

        await say(http, "A shirt, please", "m1")
        await eventually(asked)
        (question,) = (await page())["interrupts"]
        assert question["message"] == "Which size?"
        answer = {"interrupt": question["id"], "payload": "small"}
        assert (await http.post(f"{url}/answers", json=answer)).status_code == 202
        await eventually(goes_on)
        assert "interrupts" not in await page()

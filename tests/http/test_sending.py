"""The route of messages: accepted once, answered, or refused with what was expected."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from agentws import Limits
from agentws.agents.commands import Command, CommandContext
from agentws.protocol.position import parse_position
from agentws.testing.agents import Gate, Script
from agentws.testing.connect import connect

from .calling import SESSION, Echo, answered, say, served

pytestmark = pytest.mark.usefixtures("nodes")


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

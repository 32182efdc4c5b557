"""The routes of the shared state: read it, change it, and who may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from agentws import Agent, BearerKeys, RunContext, StateChange

from .calling import SESSION, answered, client, say, served

pytestmark = pytest.mark.usefixtures("nodes")

PATH = f"/sessions/{SESSION}/state"
PATCH = "application/json-patch+json"


class Form(Agent):
    def accepts_state(self, change: StateChange) -> bool:
        return change.identity is None or change.identity.id == "ann"

    async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
        ctx.set_state({"name": ctx.text})
        yield "set"


def body(*operations: dict[str, Any]) -> bytes:
    return msgspec.json.encode(operations)


ADD = body({"op": "add", "path": "/a", "value": 1})


async def test_the_state_is_read_and_changed() -> None:
    async with served(Form) as (_, http):
        await say(http, "Ada")
        await answered(http)
        assert (await http.get(PATH)).json()["state"] == {"name": "Ada"}
        for kind in (PATCH, "application/json"):
            reply = await http.patch(PATH, content=ADD, headers={"content-type": kind})
            assert reply.status_code == 202 and reply.json()["type"] == "accepted"
        now = (await http.get(PATH)).json()
        assert now["state"] == {"name": "Ada", "a": 1}
        assert now["position"] == reply.json()["position"]


async def test_the_state_of_a_new_session_is_null() -> None:
    async with served(Form) as (_, http):
        await say(http, "/help")
        assert (await http.get(PATH)).json()["state"] is None


async def test_a_change_with_an_id_is_made_once() -> None:
    async with served(Form) as (_, http):
        await say(http, "Ada")
        await answered(http)
        url = f"{PATH}?id=p1"
        headers = {"content-type": PATCH}
        first = (await http.patch(url, content=ADD, headers=headers)).json()
        replies = await asyncio.gather(
            *(http.patch(url, content=ADD, headers=headers) for _ in range(5))
        )
        assert [one.json() for one in replies] == [{**first, "duplicate": True}] * 5
        other = body({"op": "remove", "path": "/a"})
        refused = await http.patch(url, content=other, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (body({"op": "test", "path": "/name", "value": "Bob"}), PATCH, 409, "state_conflict"),
        (body({"op": "frob", "path": "/name"}), PATCH, 400, "bad_request"),
        (b'{"op": "remove", "path": "/name"}', PATCH, 400, "bad_request"),
        (b"", PATCH, 400, "bad_request"),
        (b"[{", PATCH, 400, "bad_request"),
        (ADD, "text/plain", 415, "unsupported_media"),
        (b"[" + b" " * 2_000_000 + b"]", PATCH, 413, "too_large"),
    ],
)
async def test_a_change_that_can_not_be_made_is_refused(
    content: bytes, kind: str, status: int, code: str
) -> None:
    async with served(Form) as (_, http):
        await say(http, "Ada")
        await answered(http)
        reply = await http.patch(PATH, content=content, headers={"content-type": kind})
        assert (reply.status_code, reply.json()["code"]) == (status, code)
        assert (await http.get(PATH)).json()["state"] == {"name": "Ada"}


async def test_a_browser_may_send_a_patch_but_no_form() -> None:
    origin = {"origin": "http://testserver"}
    async with served(Form) as (_, http):
        await say(http, "Ada")
        await answered(http)
        sent = await http.patch(PATH, content=ADD, headers={**origin, "content-type": PATCH})
        assert sent.status_code == 202
        form = {**origin, "content-type": "application/x-www-form-urlencoded"}
        assert (await http.patch(PATH, content=ADD, headers=form)).status_code == 415


async def test_only_the_owner_reads_and_changes_the_state() -> None:
    keys = BearerKeys({"ann-key": "ann", "bob-key": "bob"})
    ann, bob = ({"authorization": f"Bearer {name}-key"} for name in ("ann", "bob"))
    async with served(Form, authenticate=keys, headers=ann) as (gateway, http):
        await say(http, "Ada")
        await answered(http)
        assert (await http.patch(PATH, content=ADD, headers={"content-type": PATCH})).is_success
        foreign = client(http._transport.app, **bob)  # type: ignore[attr-defined]
        for path in (PATH, "/sessions/ses_unknown_0123456789/state"):
            assert (await foreign.get(path)).status_code == 403
            reply = await foreign.patch(path, content=ADD, headers={"content-type": PATCH})
            assert reply.status_code == 403

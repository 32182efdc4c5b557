"""Changes of the shared state by clients: what is accepted, once, and where it is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import RunContext
from agentws.testing.connect import Client, connect
from agentws.testing.faults import FaultyStore

from .harness import talk
from .nodes import memory_store
from .sharing import Open, add, change, expecting, folded


async def shared(client: Client, session: str) -> Any:
    """The state that a client of ``client``'s app is given when it opens the session now."""
    async with connect(client.app, f"/ws/chat?session={session}") as other:
        await other.settle()
        found = [one["snapshot"] for one in other.events() if one["type"] == "STATE_SNAPSHOT"]
        return found[-1] if found else None


async def test_a_change_by_a_client_is_an_event_that_every_tab_sees() -> None:
    async with talk(Open) as one, connect(one.client.app, f"/ws/chat?session={one.session}") as tab:
        reply = await one.client.ask(change(add("/a", 1)))
        assert reply["type"] == "accepted"
        for client in (one.client, tab):
            event = (await client.until("state.changed"))["event"]
            assert event["patch"] == [add("/a", 1)] and "by" not in event
        assert (await one.check()).state == {"a": 1}
        assert await shared(one.client, one.session) == {"a": 1}


async def test_the_next_run_begins_with_the_changed_state() -> None:
    seen: list[Any] = []

    class Reader(Open):
        async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
            seen.append(ctx.state)
            yield "read"

    async with talk(Reader) as one:
        await one.client.ask(change(add("/a", [1])))
        await one.client.say("go", "m1")
        await one.terminal()
    assert seen == [{"a": [1]}]


CONFLICTS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a test that fails": (
        [add("/n", 2), expecting("/text", "other")],
        "Operation 2 of the patch, test /text, does not apply: the value there is another one.",
    ),
    "a path that does not exist": (
        [{"op": "remove", "path": "/nowhere"}],
        "Operation 1 of the patch, remove /nowhere, does not apply: there is nothing at this path.",
    ),
    "no parent": (
        [add("/a/b", 1)],
        "Operation 1 of the patch, add /a/b, does not apply: there is nothing at this path.",
    ),
}


@pytest.mark.parametrize("case", CONFLICTS)
async def test_a_patch_that_does_not_apply_is_refused_and_changes_nothing(case: str) -> None:
    patch, message = CONFLICTS[case]
    async with talk(Open) as one:
        await one.client.say("here", "m1")
        await one.terminal()
        reply = await one.client.ask(change(*patch))
        assert (reply["code"], reply["message"]) == ("state_conflict", message)
        assert reply["retryable"] is False and "read it" in reply["expected"]
        assert (await one.check()).state == {"text": "here"}
        assert "state.changed" not in await one.kinds()


MALFORMED: dict[str, list[Any]] = {
    "no operation": [{"path": "/a"}],
    "an unknown operation": [{"op": "increment", "path": "/a"}],
    "an operation that is no text": [{"op": ["add"], "path": "/a", "value": 1}],
    "no path": [{"op": "remove"}],
    "a path without a slash": [add("a", 1)],
    "a wrong escape": [add("/~2", 1)],
    "no value": [{"op": "add", "path": "/a"}],
    "no from": [{"op": "move", "path": "/a"}],
    "not an object": ["add"],
    "nested too deeply": [
        add("/a", [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]])
    ],
    "U+0000": [add("/a", "\0")],
    "no operations at all": [],
    "too many operations": [add("/a", 1)] * 257,
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_a_patch_that_is_none_gets_a_clear_error(case: str) -> None:
    async with talk(Open) as one:
        reply = await one.client.ask({"type": "state", "id": "s1", "patch": MALFORMED[case]})
        assert reply["code"] == "bad_request"
        await one.client.ask({"type": "ping", "id": "p"})
        assert await one.kinds() == []


async def test_the_size_of_the_state_is_bounded() -> None:
    async with talk(Open, max_event_size=10_000) as one:
        assert (await one.client.ask(change(add("/a", "x" * 6000))))["type"] == "accepted"
        reply = await one.client.ask(change(add("/b", "x" * 6000), id="s2"))
        assert reply["code"] == "too_large" and "the shared state would have" in reply["message"]
        copies = [{"op": "copy", "from": "/a", "path": f"/{n}"} for n in range(200)]
        assert (await one.client.ask(change(*copies, id="s3")))["code"] == "too_large"
        one_event = change(*[add("/c", "x" * 200)] * 60, id="s4")
        assert (await one.client.ask(one_event))["code"] == "too_large"
        assert (await one.client.ask(change(add("/a", ""), id="s5")))["type"] == "accepted"
        await one.client.settle()
        assert (await one.check()).state == {"a": ""}


# Once


async def test_a_change_that_is_sent_again_is_a_duplicate_even_if_it_applies_no_more() -> None:
    async with talk(Open) as one:
        await one.client.ask(change(add("/n", 1)))
        patch = change(expecting("/n", 1), add("/n", 2), id="s2")
        first = await one.client.ask(patch)
        again = await one.client.ask(patch)
        assert again == {**first, "duplicate": True}
        other = await one.client.ask(change(add("/n", 3), id="s2"))
        assert other["code"] == "idempotency_conflict"
        assert (await one.check()).state == {"n": 2}
        assert (await one.kinds()).count("state.changed") == 2


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_store_that_fails_once_loses_and_doubles_no_change(after: bool) -> None:
    store = FaultyStore(memory_store())
    async with talk(Open, store=store) as one:
        frame = change(expecting("", {}), add("/a", 1))
        store.fail("append", times=1, after=after)
        assert (await one.client.ask(frame))["code"] == "unavailable"
        assert (await one.client.ask(frame))["type"] == "accepted"
        assert (await one.kinds()) == ["state.changed"]
        await one.client.settle()
        assert (await one.check()).state == {"a": 1}


# Where it is kept


async def test_a_tab_that_opens_during_a_run_shows_what_clients_changed_in_it() -> None:
    async with talk(Open) as one:
        await one.client.ask(change(add("/before", 1)))
        await one.client.say("wait", "m1")
        await one.client.until("STATE_SNAPSHOT")
        await one.client.ask(change(add("/during", 1), id="s2"))
        async with connect(one.client.app, f"/ws/chat?session={one.session}") as tab:
            await tab.settle()
            snapshot = next(each for each in tab.events() if each["type"] == "STATE_SNAPSHOT")
            assert snapshot["snapshot"] == {"before": 1}
            assert folded(tab) == {"waiting": True, "during": 1}
        await one.client.ask(change(add("/go", 1), id="s3"))
        await one.terminal()


async def test_a_change_without_a_run_survives_a_cold_start() -> None:
    store = memory_store()
    async with talk(Open, store=store, session_idle=1.0) as one:
        await one.client.say("here", "m1")
        await one.terminal()
        await asyncio.sleep(10)
        await one.client.ask(change(add("/n", 1)))
        session, app = one.session, one.client.app
        await one.client.aclose()
        await asyncio.sleep(30)
        assert not list(one.gateway.sessions)
        async with connect(app, f"/ws/chat?session={session}") as late:
            await late.settle()
            assert folded(late) == {"text": "here", "n": 1}


async def test_many_changes_without_a_run_are_not_applied_again_at_every_cold_start() -> None:
    store = memory_store()
    async with talk(Open, store=store) as one:
        for number in range(300):
            await one.client.ask(change(add("/n", number), id=f"s{number}"))
        await asyncio.sleep(30)
        head = await store.head(one.session)
        assert head.position.seq - head.settled.seq < 100
        await one.client.settle()
        assert (await one.check()).state == {"n": 299}

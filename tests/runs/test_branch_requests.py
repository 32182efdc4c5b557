"""Requests to branch: what is refused, and what is a duplicate."""

from __future__ import annotations

from typing import Any

import pytest

from agentws.runs import branches as branch_events
from agentws.testing.agents import Hang, Script
from agentws.testing.connect import connect, kind

from .branching import EDITING, branch, branches_of, counting, refusal, said, served, shown
from .harness import talk


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"type": "regenerate", "message": "m7"}, "not_found"),
        ({"type": "edit", "message": "m7", "content": "x"}, "not_found"),
        ({"type": "edit", "message": "m1", "content": "  "}, "bad_request"),
        ({"type": "edit", "message": "m1"}, "bad_request"),
        ({"type": "regenerate", "message": "m1", "agent": "nobody"}, "bad_request"),
        ({"type": "switch", "branch": "br_7"}, "not_found"),
        ({"type": "switch"}, "bad_request"),
    ],
)
async def test_a_branch_that_can_not_be_is_refused(frame: dict[str, Any], code: str) -> None:
    async with talk(counting) as one:
        await said(one, "a")
        before = await one.kinds()
        assert await refusal(one, {"id": "x1", **frame}) == code
        assert await one.kinds() == before


async def test_nothing_is_answered_again_in_an_empty_session() -> None:
    async with talk(counting) as one:
        assert await refusal(one, {"type": "regenerate", "id": "g1"}) == "not_found"


async def test_an_edit_needs_an_id_of_its_own() -> None:
    async with talk(counting) as one:
        await said(one, "a")
        frame = {"type": "edit", "id": "m1", "message": "m1", "content": "b"}
        assert await refusal(one, frame) == "idempotency_conflict"


async def test_nothing_branches_during_a_run() -> None:
    async with talk(Script("fine", named={"hang": ["one ", Hang()]})) as one:
        await said(one, "a")
        await one.client.say("hang", "m2")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        for frame in (
            {"type": "regenerate", "id": "g1"},
            {"type": "regenerate", "id": "g2", "message": "m1"},
            {"type": "edit", "id": "m9", "message": "m1", "content": "b"},
            {"type": "switch", "id": "s1", "branch": "br_1"},
        ):
            assert await refusal(one, frame) == "run_active"
        await one.client.ask({"type": "cancel", "id": "c1"})
        await one.terminal()
        await branch(one, {"type": "regenerate", "id": "g1", "message": "m1"})
        assert await shown(one) == ["a", "fine"]
        await one.check()


async def test_a_queued_message_is_not_edited_here() -> None:
    async with talk(Script(named={"hang": ["one ", Hang()]})) as one:
        await one.client.say("hang", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        await one.client.say("later", "m2")
        frame = {"type": "edit", "id": "m9", "message": "m2", "content": "b"}
        reply = await one.client.ask(frame)
        assert (reply["code"], reply["retryable"]) == ("conflict", False)
        assert "queue" in reply["message"]


async def test_a_log_branches_until_too_many_ranges_are_out_of_view(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(branch_events, "MOST_RANGES", 1)
    async with talk(counting) as one:
        await said(one, "a", "b", "c")
        await branch(one, {"type": "regenerate", "id": "g1"})
        await branch(one, {"type": "regenerate", "id": "g2"})
        await one.client.say("d", "m4")
        await one.terminal()
        before = await one.kinds()
        assert await refusal(one, {"type": "regenerate", "id": "g3"}) == "conflict"
        assert await one.kinds() == before


async def test_nothing_branches_while_a_message_waits() -> None:
    async with talk(counting, max_runs=1) as one:
        await said(one, "a")
        async with connect(one.client.app) as other:
            await other.say("hang", "h1")
            await other.until("RUN_STARTED")
            await one.client.say("b", "m2")
            for frame in (EDITING[0], {"type": "regenerate", "id": "g1"}):
                assert await refusal(one, frame) == "run_active"
            await other.ask({"type": "cancel", "id": "c1"})
        await one.terminal()
        assert await shown(one) == ["a", "a#1", "b", "b#3"]
        await one.check()


# Sent again


async def test_a_request_that_is_sent_again_is_a_duplicate() -> None:
    async with talk(counting) as one:
        await said(one, "a", "b")
        frames = [
            {"type": "regenerate", "id": "g1"},
            {"type": "edit", "id": "m9", "message": "m1", "content": "A"},
        ]
        for ends, frame in enumerate(frames, start=3):
            first = await one.client.ask(frame)
            early = await one.client.ask(frame)
            await one.ended(ends)
            late = await one.client.ask(frame)
            for again in (early, late):
                assert (again["duplicate"], again["position"]) == (True, first["position"])
        (old, _) = branches_of((await served(one))[0])["ids"]
        back = {"type": "switch", "id": "s1", "branch": old}
        first = await one.client.ask(back)
        await branch(one, {"type": "regenerate", "id": "g2"})
        assert (await one.client.ask(back))["position"] == first["position"]
        assert await refusal(one, {**frames[0], "message": "m1"}) == "idempotency_conflict"
        await one.client.settle()
        await one.check()


async def test_a_switch_to_the_branch_in_view_changes_nothing() -> None:
    async with talk(counting) as one:
        await said(one, "a")
        await branch(one, {"type": "regenerate", "id": "g1"})
        ids = branches_of((await served(one))[0])["ids"]
        before = await one.kinds()
        reply = await one.client.ask({"type": "switch", "id": "s1", "branch": ids[1]})
        assert kind(reply) == "accepted"
        assert await one.kinds() == before

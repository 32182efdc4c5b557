"""Answering again, editing, going back: what is in view, for every reader of the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from agentws.agents.run_context import RunContext
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.runs import branches as branch_events
from agentws.testing.agents import Hang, Script
from agentws.testing.connect import Frame, connect, kind

from .harness import Talk, talk
from .nodes import memory_store
from .test_carried import back, forgotten

EDITING = [
    {"type": "edit", "id": "m9", "message": "m1", "content": "A"},
    {"type": "regenerate", "id": "g1", "message": "m1"},
]


async def counting(ctx: RunContext) -> AsyncIterator[str]:
    """Says the message, and how many messages the agent's history has."""
    if ctx.text == "hang":
        await asyncio.get_running_loop().create_future()
    yield f"{ctx.text}#{len(await ctx.history())}"


async def said(one: Talk, *texts: str) -> None:
    for number, text in enumerate(texts, start=1):
        await one.client.say(text, f"m{number}")
        await one.terminal()


async def branch(one: Talk, frame: dict[str, Any]) -> Frame:
    """Sends the frame, and waits for the end of the run that answers."""
    reply = await one.client.ask(frame)
    assert kind(reply) == "accepted", reply
    return await one.terminal()


async def shown(one: Talk) -> list[str]:
    """The conversation as a new client gets it."""
    url = f"/ws/chat?session={one.session}"
    async with connect(one.client.app, url) as other:
        frame = await other.until("MESSAGES_SNAPSHOT")
        return texts(frame["event"]["messages"])


async def served(one: Talk) -> list[dict[str, Any]]:
    url = f"/ws/chat?session={one.session}"
    async with connect(one.client.app, url) as other:
        frame = await other.until("MESSAGES_SNAPSHOT")
        found: list[dict[str, Any]] = frame["event"]["messages"]
        return found


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [one["content"] for one in messages]


def branches_of(message: dict[str, Any]) -> Any:
    return message.get("metadata", {}).get("agentws", {}).get("branches")


async def test_a_regenerated_answer_replaces_the_last_one() -> None:
    async with talk(counting) as one:
        await said(one, "a", "b")
        await branch(one, {"type": "regenerate", "id": "g1"})
        assert await shown(one) == ["a", "a#1", "b", "b#3"]
        fold = await one.check()
        assert [message.id for message in fold.messages][2] == "m2"


async def test_an_edit_goes_on_from_an_earlier_message() -> None:
    async with talk(counting) as one:
        await said(one, "a", "b", "c")
        await branch(one, {"type": "edit", "id": "m9", "message": "m2", "content": "B"})
        assert await shown(one) == ["a", "a#1", "B", "B#3"]
        await one.client.settle()
        await one.check()


async def test_an_old_branch_comes_back_whole() -> None:
    async with talk(counting) as one:
        await said(one, "a", "b", "c")
        await branch(one, {"type": "edit", "id": "m9", "message": "m2", "content": "B"})
        old, new = branches_of((await served(one))[2])["ids"]
        await one.client.ask({"type": "switch", "id": "s1", "branch": old})
        assert await shown(one) == ["a", "a#1", "b", "b#3", "c", "c#5"]
        assert branches_of((await served(one))[2]) == {"current": 0, "ids": [old, new]}
        await one.client.ask({"type": "switch", "id": "s2", "branch": new})
        assert await shown(one) == ["a", "a#1", "B", "B#3"]
        await one.client.settle()
        await one.check()


def httpx_of(one: Talk) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=one.client.app)
    return httpx2.AsyncClient(transport=transport, base_url="http://testserver")


# What is refused


async def refusal(one: Talk, frame: dict[str, Any]) -> str:
    reply = await one.client.ask(frame)
    assert kind(reply) == "error", reply
    return str(reply["code"])


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


# Several places, several branches


async def test_a_branch_comes_back_as_it_was_left() -> None:
    """Also with the branch that was in view at a place within it."""
    async with talk(counting) as one:
        await said(one, "a", "b", "c")
        await branch(one, {"type": "edit", "id": "m4", "message": "m3", "content": "C"})
        await branch(one, {"type": "edit", "id": "m5", "message": "m1", "content": "A"})
        assert await shown(one) == ["A", "A#1"]
        (old, _) = branches_of((await served(one))[0])["ids"]
        await one.client.ask({"type": "switch", "id": "s1", "branch": old})
        assert await shown(one) == ["a", "a#1", "b", "b#3", "C", "C#5"]
        conversation = await served(one)
        inner = branches_of(conversation[4])
        assert inner["current"] == 1
        await one.client.ask({"type": "switch", "id": "s2", "branch": inner["ids"][0]})
        assert await shown(one) == ["a", "a#1", "b", "b#3", "c", "c#5"]
        assert [branches_of(one) and branches_of(one)["current"] for one in await served(one)] == [
            0,
            None,
            None,
            None,
            0,
            None,
        ]
        await one.client.settle()
        await one.check()


async def test_a_branch_within_one_that_is_out_of_view_can_not_be_gone_back_to() -> None:
    async with talk(counting) as one:
        await said(one, "a", "b")
        await branch(one, {"type": "regenerate", "id": "g1"})
        (inner, _) = branches_of((await served(one))[2])["ids"]
        await branch(one, {"type": "edit", "id": "m9", "message": "m1", "content": "A"})
        assert await refusal(one, {"type": "switch", "id": "s1", "branch": inner}) == "not_found"


async def test_several_answers_to_one_message_are_branches_of_one_place() -> None:
    async with talk(counting) as one:
        await said(one, "a")
        for number in range(3):
            await branch(one, {"type": "regenerate", "id": f"g{number}"})
        await branch(one, {"type": "edit", "id": "m9", "message": "m1", "content": "A"})
        mark = branches_of((await served(one))[0])
        assert (mark["current"], len(mark["ids"])) == (4, 5)
        live = [event for event in one.client.events() if event["type"] == "history.branched"]
        assert live[-1]["branches"] == mark["ids"]
        asked = [event for event in one.client.events() if event["type"] == "RUN_STARTED"]
        assert branches_of(asked[-1]["input"]["messages"][0]) == mark


async def test_clearing_ends_all_branches() -> None:
    async with talk(counting) as one:
        await said(one, "a")
        await branch(one, {"type": "regenerate", "id": "g1"})
        ids = branches_of((await served(one))[0])["ids"]
        await one.client.ask({"type": "command", "id": "x1", "name": "clear"})
        assert await refusal(one, {"type": "switch", "id": "s1", "branch": ids[0]}) == "not_found"
        frame = {"type": "regenerate", "id": "g2", "message": "m1"}
        assert await refusal(one, frame) == "not_found"
        await one.client.say("b", "m2")
        await one.terminal()
        assert await shown(one) == ["b", "b#1"]


# A branch that never begins


@pytest.mark.parametrize("frame", EDITING)
@pytest.mark.parametrize("by", ["withdraw", "cancel"])
async def test_taking_back_the_message_of_a_new_branch_brings_the_old_one_back(
    frame: dict[str, Any], by: str
) -> None:
    async with talk(counting, max_runs=1) as one:
        await said(one, "a", "b")
        async with connect(one.client.app) as other:
            # It has the only place for a run.
            await other.say("hang", "h1")
            await other.until("RUN_STARTED")
            assert kind(await one.client.ask(frame)) == "accepted"
            assert await shown(one) == []
            message = frame["id"] if frame["type"] == "edit" else "m1"
            reply = await one.client.ask({"type": by, "id": "w1", "message": message})
            assert kind(reply) == "accepted"
            assert await shown(one) == ["a", "a#1", "b", "b#3"]
            assert [branches_of(message) for message in await served(one)] == [None] * 4
            await other.ask({"type": "cancel", "id": "c1"})
        await branch(one, {"type": "regenerate", "id": "g2", "message": "m1"})
        assert await shown(one) == ["a", "a#1"]
        assert branches_of((await served(one))[0])["current"] == 1
        await one.client.settle()
        await one.check()


@pytest.mark.parametrize("overlap", ["queue", "interrupt"])
async def test_a_message_that_goes_before_a_new_branch_comes_after_the_old_one(
    overlap: str,
) -> None:
    """The conversation is in the order of the log, for snapshots and for every fold."""
    async with talk(counting, max_runs=1) as one:
        await said(one, "a", "b")
        async with connect(one.client.app) as other:
            # It has the only place for a run.
            await other.say("hang", "h1")
            await other.until("RUN_STARTED")
            await one.client.ask({"type": "regenerate", "id": "g1", "message": "m2"})
            await one.client.ask({"type": "send", "id": "m3", "content": "c", "overlap": overlap})
            await one.client.ask({"type": "promote", "id": "p1", "message": "m3"})
            await other.ask({"type": "cancel", "id": "c1"})
        await one.ended(4)
        assert await shown(one) == ["a", "a#1", "c", "c#3", "b", "b#5"]
        (old, _) = branches_of((await served(one))[4])["ids"]
        await one.client.ask({"type": "switch", "id": "s1", "branch": old})
        await one.client.settle()
        assert await shown(one) == ["a", "a#1", "b", "b#3", "c", "c#3"]
        fold = await one.check()
        assert [message.id for message in fold.messages][::2] == ["m1", "m2", "m3"]


# Questions


def asking() -> Script:
    question = e.RunFinished("", "", outcome=m.InterruptOutcome([m.Interrupt("q1", "approval")]))
    return Script("fine", named={"go": ["May I?", question], "": ["Thanks."], "hang": [Hang()]})


async def test_a_question_that_goes_out_of_view_is_closed() -> None:
    async with talk(asking()) as one:
        await said(one, "a", "go")
        await branch(one, {"type": "edit", "id": "m9", "message": "m2", "content": "b"})
        live = [event for event in one.client.events() if event["type"] == "history.branched"]
        assert live[-1]["interrupts"] == ["q1"]
        answer = {"type": "answer", "id": "a1", "interrupt": "q1", "payload": True}
        assert await refusal(one, answer) == "not_found"
        (old, _) = branches_of((await served(one))[2])["ids"]
        await one.client.ask({"type": "switch", "id": "s1", "branch": old})
        assert await shown(one) == ["a", "fine", "go", "May I?"]
        assert await refusal(one, {**answer, "id": "a2"}) == "not_found"
        await one.client.settle()
        fold = await one.check()
        assert fold.outline.settled


async def test_a_question_that_stays_in_view_stays_open() -> None:
    async with talk(asking()) as one:
        await said(one, "go", "b")
        await branch(one, {"type": "edit", "id": "m9", "message": "m2", "content": "c"})
        await one.client.ask({"type": "answer", "id": "a1", "interrupt": "q1", "payload": True})
        assert await one.client.answer() == "Thanks."
        assert await shown(one) == ["go", "May I?", "c", "fine", "Thanks."]
        await one.check()


async def test_nothing_branches_once_a_run_is_due_to_resume() -> None:
    async with talk(asking(), max_runs=1) as one:
        await said(one, "go")
        async with connect(one.client.app) as other:
            await other.say("hang", "h1")
            await other.until("RUN_STARTED")
            await one.client.ask({"type": "answer", "id": "a1", "interrupt": "q1", "payload": 1})
            frame = {"type": "regenerate", "id": "g1", "message": "m1"}
            assert await refusal(one, frame) == "run_active"
            await other.ask({"type": "cancel", "id": "c1"})
        assert await one.client.answer() == "Thanks."
        await one.check()


# Who sees what


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

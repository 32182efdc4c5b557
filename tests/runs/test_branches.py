"""Answering again, editing, going back: what is in view."""

from __future__ import annotations

from typing import Any

import pytest

from agentws.testing.connect import connect, kind

from .branching import EDITING, branch, branches_of, counting, refusal, said, served, shown
from .harness import talk


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

"""Commands that branch the conversation, each in a race with another command of another node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentws.testing.agents import Gate
from agentws.testing.connect import Client, Frame, connect

from .race import SESSION, Race, code, race, script

BRANCHED = "history.branched"


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Race]:
    """Two nodes on a conversation of two turns, after the one that each race begins with."""
    async with race(tmp_path, script(Gate())) as race_:
        for id in ("m1", "m2"):
            await race_.here.say("quick", id)
            await race_.until_open(None)
            await race_.here.until(
                lambda frame: frame.get("event", {}).get("type") == "RUN_FINISHED"
            )
        yield race_


async def edit(one: Race, client: Client, id: str, message: str) -> Frame:
    return await client.ask({"type": "edit", "id": id, "message": message, "content": "quick"})


async def users(one: Race) -> list[str]:
    """The user messages in view but the first, as a new client of each node gets them."""
    await one.log()
    found = []
    for client in (one.here, one.there):
        async with connect(client.app, f"/ws/chat?session={SESSION}") as fresh:
            snapshot = await fresh.until("MESSAGES_SNAPSHOT")
            messages = snapshot["event"]["messages"]
            found.append([each["id"] for each in messages if each["role"] == "user"])
    assert found[0] == found[1]
    assert found[0][0] == "m0"
    return found[0][1:]


async def branches(one: Race, at: int) -> list[str]:
    async with connect(one.here.app, f"/ws/chat?session={SESSION}") as fresh:
        snapshot = await fresh.until("MESSAGES_SNAPSHOT")
        asked = [each for each in snapshot["event"]["messages"] if each["role"] == "user"][1:]
        ids: list[str] = asked[at]["metadata"]["agentws"]["branches"]["ids"]
        return ids


async def test_of_two_edits_of_one_message_the_second_is_decided_after_the_first(
    one: Race,
) -> None:
    first = edit(one, one.there, "m8", "m1")
    reply = await one.overtaken(BRANCHED, edit(one, one.here, "m9", "m1"), first)
    assert code(reply) in ("run_active", "not_found")
    assert await users(one) == ["m8"]


async def test_an_edit_after_a_whole_other_branch_replaces_what_is_in_view(one: Race) -> None:
    """Its message stays in view, so the edit stays possible; the range is read again."""
    other, over = edit(one, one.there, "m8", "m2"), one.until_open(None)
    reply = await one.overtaken(BRANCHED, edit(one, one.here, "m9", "m1"), other, over)
    assert code(reply) == "accepted"
    assert await users(one) == ["m9"]
    (old, _) = await branches(one, 0)
    assert code(await one.ask(one.there, "switch", branch=old)) == "accepted"
    assert await users(one) == ["m1", "m8"]


async def test_an_edit_of_a_message_that_went_out_of_view_is_refused(one: Race) -> None:
    other, over = edit(one, one.there, "m8", "m1"), one.until_open(None)
    reply = await one.overtaken(BRANCHED, edit(one, one.here, "m9", "m2"), other, over)
    assert code(reply) == "not_found"
    assert await users(one) == ["m8"]


async def test_the_last_answer_is_the_one_in_view_when_the_request_is_accepted(one: Race) -> None:
    sending, over = one.there.say("quick", "m3"), one.until_open(None)
    again = one.ask(one.here, "regenerate")
    assert code(await one.overtaken(BRANCHED, again, sending, over)) == "accepted"
    assert await users(one) == ["m1", "m2", "m3"]
    assert len(await branches(one, 2)) == 2


async def test_a_message_that_races_with_a_branch_follows_it(one: Race) -> None:
    sending = one.here.say("quick", "m3")
    other = edit(one, one.there, "m9", "m1")
    assert code(await one.overtaken("message.accepted", sending, other)) == "accepted"
    assert await users(one) == ["m9", "m3"]


async def test_a_branch_that_loses_the_race_with_a_message_is_refused(one: Race) -> None:
    sending = one.there.say("wait", "m3")
    reply = await one.overtaken(BRANCHED, edit(one, one.here, "m9", "m1"), sending)
    assert (code(reply), reply["retryable"]) == ("run_active", True)
    await one.ask(one.there, "cancel")
    assert await users(one) == ["m1", "m2", "m3"]


async def test_a_branch_that_races_with_a_clear_finds_nothing(one: Race) -> None:
    clear = one.ask(one.there, "command", name="clear")
    reply = await one.overtaken(BRANCHED, edit(one, one.here, "m9", "m1"), clear)
    assert code(reply) == "not_found"


async def test_of_two_switches_the_second_leaves_the_branch_of_the_first(one: Race) -> None:
    for id, message in (("m8", "m1"), ("m9", "m8")):
        await edit(one, one.here, id, message)
        await one.until_open(None)
    await one.log()
    oldest, middle, _ = await branches(one, 0)
    there = one.ask(one.there, "switch", branch=oldest)
    here = one.ask(one.here, "switch", branch=middle)
    assert code(await one.overtaken(BRANCHED, here, there)) == "accepted"
    assert await users(one) == ["m8"]
    branched = [event for event in await one.log() if event["type"] == BRANCHED]
    assert branched[-1]["left"] == oldest


async def test_a_regenerated_answer_is_asked_for_once_by_two_clients(one: Race) -> None:
    frame = {"type": "regenerate", "id": "same"}
    there = one.there.ask(frame)
    reply = await one.overtaken(BRANCHED, one.here.ask(frame), there)
    assert (code(reply), reply["duplicate"]) == ("accepted", True)
    assert [event["type"] for event in await one.log()].count(BRANCHED) == 1

"""Queued messages that are edited in place, or moved to the front."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agentws.protocol import messages as m
from agentws.protocol.codec import decode_event
from agentws.protocol.fold import Fold
from agentws.testing.agents import Gate, IgnoreCancel, Script
from agentws.testing.connect import Frame, connect, kind

from .harness import Talk, talk


def waiting() -> tuple[Gate, Script]:
    gate = Gate()
    return gate, Script(gate, "done")


async def edit(one: Talk, message: str, content: Any, **members: Any) -> Frame:
    frame = {"type": "edit_queued", "id": "e1", "message": message, "content": content, **members}
    return await one.client.ask(frame)


async def promote(one: Talk, message: str) -> Frame:
    return await one.client.ask({"type": "promote", "id": "p1", "message": message})


def queue_of(frames: list[Frame]) -> list[tuple[str, m.Content]]:
    """The queue, as a client folds it."""
    fold = Fold()
    for frame in frames:
        if "event" in frame:
            fold.apply(decode_event(msgspec.json.encode(frame["event"])), frame.get("run"))
    return [(id, one.message.content) for id, one in fold.outline.queue.items()]


async def test_an_edited_message_keeps_its_place_and_runs_with_its_new_content() -> None:
    gate, script = waiting()
    async with talk(script) as one:
        await one.client.say("first", "m1")
        await one.client.say("wrong", "m2")
        await one.client.say("last", "m3")
        assert kind(await edit(one, "m2", "right")) == "accepted"
        gate.open()
        await one.ended(3)
        fold = await one.check()
    assert script.texts == ["first", "right", "last"]
    assert [one.content for one in fold.messages if one.id == "m2"] == ["right"]


async def test_an_edit_keeps_what_it_does_not_name() -> None:
    gate, script = waiting()
    async with talk(script) as one:
        await one.client.say("first", "m1")
        await one.client.say("text", "m2", attachments=["f1"], metadata={"a": 1})
        await edit(one, "m2", "other text")
        await one.client.say("text", "m3", attachments=["f1"], metadata={"a": 1})
        await edit(one, "m3", "text", attachments=[], metadata={"b": 2})
        await one.client.say("text", "m4")
        await edit(one, "m4", "//text", attachments=["f2"])
        gate.open()
        await one.ended(4)
        await one.check()
    _, kept, changed, escaped = script.runs
    assert (kept.text, kept.attachments) == ("other text", ["f1"])
    assert kept.message.metadata == {"a": 1, "attachments": ["f1"]}
    assert (changed.attachments, changed.message.metadata) == ([], {"b": 2})
    assert (escaped.text, escaped.attachments) == ("/text", ["f2"])


async def test_an_edit_or_a_promotion_that_changes_nothing_appends_nothing() -> None:
    gate, script = waiting()
    async with talk(script) as one:
        await one.client.say("first", "m1")
        await one.client.say("text", "m2")
        before = len(await one.log())
        for _ in range(2):
            assert kind(await edit(one, "m2", "text")) == "accepted"
            assert kind(await promote(one, "m2")) == "accepted"
        assert len(await one.log()) == before
        gate.open()
        await one.ended(2)
        await one.check()


async def test_a_promoted_message_runs_next() -> None:
    gate, script = waiting()
    async with talk(script) as one:
        for number in range(4):
            await one.client.say(f"text {number}", f"m{number}")
        assert kind(await promote(one, "m3")) == "accepted"
        assert kind(await promote(one, "m2")) == "accepted"
        gate.open()
        await one.ended(4)
        await one.check()
    assert script.texts == ["text 0", "text 2", "text 3", "text 1"]


@pytest.mark.parametrize("change", [edit, promote], ids=["edit", "promote"])
async def test_only_a_queued_message_is_changed(change: Any) -> None:
    gate, script = waiting()
    content = ("text",) if change is edit else ()
    async with talk(script) as one:
        await one.client.say("first", "m1")
        await one.client.say("second", "m2")
        await one.client.say("steer", "m3", overlap="steer")
        await one.client.ask({"type": "withdraw", "id": "w", "message": "m2"})
        await gate.reached()
        for id in ("m1", "m2", "unknown"):
            refused = await change(one, id, *content)
            assert (refused["code"], refused["message"]) == (
                "not_found",
                "This message is not in the queue.",
            )
        steering = await change(one, "m3", *content)
        assert (steering["code"], "active run" in steering["message"]) == ("not_found", True)
        gate.open()
        await one.ended(2)
        await one.check()


@pytest.mark.parametrize("content", ["", "   ", [], "/help", "ping"])
async def test_content_that_no_message_may_have_is_refused(content: Any) -> None:
    gate, script = waiting()
    async with talk(script) as one:
        await one.client.say("first", "m1")
        await one.client.say("second", "m2")
        refused = await edit(one, "m2", content)
        assert refused["code"] == "bad_request"
        gate.open()
        await one.ended(2)
    assert script.texts == ["first", "second"]


async def test_an_edit_that_no_run_could_begin_with_is_refused() -> None:
    gate, script = waiting()
    async with talk(script, max_event_size=4096, max_message_size=8192) as one:
        await one.client.say("first", "m1")
        await one.client.say("second", "m2")
        for size in (3900, 5000):
            refused = await edit(one, "m2", "x" * size)
            assert refused["code"] == "too_large"
        assert kind(await edit(one, "m2", "x" * 2000)) == "accepted"
        gate.open()
        await one.ended(2)
        await one.check()


async def test_a_message_that_interrupts_runs_before_one_that_was_promoted_earlier() -> None:
    gate = Gate()
    script = Script(named={"first": [gate], "now": ["x"], "text 2": ["x"], "text 3": ["x"]})
    async with talk(script) as one:
        await one.client.say("first", "m1")
        await gate.reached()
        await one.client.say("text 2", "m2")
        await one.client.say("text 3", "m3")
        await promote(one, "m3")
        # The next run begins when the first one has ended: not before all this is in the log.
        await one.client.send(
            {"type": "send", "id": "m4", "content": "now", "overlap": "interrupt"}
        )
        await one.ended(4)
        await one.check()
    assert script.texts == ["first", "now", "text 3", "text 2"]


async def test_a_tab_that_opens_late_folds_the_same_queue() -> None:
    gate, script = waiting()
    second = Gate()
    script = Script(named={"first": [gate], "next": [second], "last": ["x"]})
    async with talk(script) as one:
        await one.client.say("first", "m1")
        await one.client.say("next", "m2")
        for id in ("m3", "m4", "m5"):
            await one.client.say("last", id)
        gate.open()
        await second.reached()
        await promote(one, "m5")
        await edit(one, "m3", "edited")
        await promote(one, "m4")
        app = one.client.app
        async with connect(app, f"/ws/chat?session={one.session}") as late:
            await late.until("message.promoted")
            await late.until("message.promoted")
            queue = queue_of(late.frames)
        assert queue == [("m4", "last"), ("m5", "last"), ("m3", "edited")]
        second.open()
        await one.ended(5)
        await one.check()
    assert script.texts == ["first", "next", "last", "last", "edited"]


async def test_a_late_tab_shows_the_order_of_messages_that_interrupted() -> None:
    first, second = Gate(), Gate()
    ignoring = IgnoreCancel(first)
    script = Script(named={"first": [ignoring], "next": [second], "last": ["x"]})
    async with talk(script, cancel_grace=60.0) as one:
        await one.client.say("first", "m1")
        await first.reached()
        await one.client.say("next", "m2")
        await one.client.say("last", "m3")
        await one.client.say("last", "m4", overlap="interrupt")
        await one.client.say("last", "m5", overlap="interrupt")
        await promote(one, "m3")
        await promote(one, "m2")
        first.open()
        await second.reached()
        async with connect(one.client.app, f"/ws/chat?session={one.session}") as late:
            await late.until("RUN_STARTED")
            queue = queue_of(late.frames)
        second.open()
        await one.ended(5)
        await one.check()
    assert [id for id, _ in queue] == ["m3", "m5", "m4"]
    assert script.texts == ["first", "next", "last", "last", "last"]

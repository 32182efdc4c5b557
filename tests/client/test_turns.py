"""How turns end: failed, stopped, withdrawn, steered, or as a command."""

from __future__ import annotations

import asyncio

import pytest

from agentws.client import Disconnected, MessageWithdrawn, RunCancelled, RunFailed
from agentws.protocol import events as e
from agentws.protocol import frames as f
from agentws.protocol import messages as m
from tests.virtual import anyio_backend as anyio_backend

from .fakes import FakeServer, accepted_message, types, until


async def test_a_failed_run_raises_with_its_text_so_far() -> None:
    async with accepted_message("x") as (server, chat, turn):
        run = server.start(turn.id, "x")
        server.append(*server.script("x"), run=run)
        server.append(e.RunError("No.", "agent_error"), run=run)
        with pytest.raises(RunFailed, match="No") as failed:
            await turn.text()
        assert (failed.value.text, failed.value.server_code) == ("x ", "agent_error")
        assert types([event async for event in turn])[-1] == "RUN_ERROR"


async def test_cancel_names_its_target_and_the_turn_raises_run_cancelled() -> None:
    async with accepted_message("x") as (server, chat, turn):
        run = server.start(turn.id, "x")
        await anext(turn)
        await turn.cancel()
        await chat.cancel()
        server.finish(run, m.CancelledOutcome())
        with pytest.raises(RunCancelled):
            await turn.text()
        await turn.cancel()
        await chat.cancel()
    first, second = server.sent("cancel")
    assert (first["message"], second["run"]) == (turn.id, run)


async def test_the_turn_of_a_withdrawn_message_raises() -> None:
    async with accepted_message("x") as (server, chat, turn):
        await chat.withdraw(turn.id)
        server.append(e.MessageWithdrawn(turn.id, "user"))
        with pytest.raises(MessageWithdrawn):
            await turn.text()
        with pytest.raises(MessageWithdrawn):
            await anext(turn)


async def test_a_message_withdrawn_during_its_run_ends_with_that_run() -> None:
    async with accepted_message("x") as (server, chat, turn):
        run = server.start(turn.id, "x")
        server.append(*server.script("x"), run=run)
        server.append(e.MessageWithdrawn(turn.id, "user"))
        server.finish(run, m.CancelledOutcome())
        with pytest.raises(RunCancelled) as stopped:
            await turn.text()
        assert stopped.value.text == "x "
        assert types([event async for event in turn])[-1] == "RUN_FINISHED"


async def test_a_resent_message_gets_its_old_answer_from_the_log() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        assert await chat.ask("hi", id="my-own-id") == "hi "
        assert await chat.ask("hi", id="my-own-id") == "hi "
    assert len(server.sent("send")) == 2


async def test_the_rest_of_the_run_answers_a_steered_message() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        first = chat.send("first")
        await first.accepted()
        run = server.start(first.id, "first")
        second = chat.send("second", overlap="steer")
        late = chat.send("late", overlap="steer")
        await late.accepted()
        server.append(e.MessageSteered(second.id, "delivered"), run=run)
        server.append(*server.script("both"), run=run)
        server.finish(run)
        server.append(e.MessageSteered(late.id, "undelivered", "finished"))
        assert await first.text() == await second.text() == "both "
        assert types([event async for event in second])[0] == "message.steered"
        run = server.start(late.id, "late")
        server.append(*server.script("late"), run=run)
        server.finish(run)
        assert await late.text() == "late "
        assert types([event async for event in late])[0] == "RUN_STARTED"


async def test_a_steered_turn_survives_a_replay_of_its_run() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        first = chat.send("first")
        await first.accepted()
        run = server.start(first.id, "first")
        second = chat.send("second", overlap="steer")
        await second.accepted()
        server.append(e.MessageSteered(second.id, "delivered"), run=run)
        server.append(*server.script("both"), run=run)
        await until(lambda: second.run == run)
        server.transports[-1].drop()
        await until(lambda: len(server.transports) == 2)
        server.finish(run)
        assert await second.text() == "both "


async def test_a_queued_message_is_edited_and_promoted() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        await chat.edit_queued("m1", "other", attachments=[])
        await chat.promote("m1")
    (edit,), (promote,) = server.sent("edit_queued"), server.sent("promote")
    assert {**edit, "id": ""} == {
        "type": "edit_queued",
        "id": "",
        "message": "m1",
        "content": "other",
        "attachments": [],
    }
    assert (promote["type"], promote["message"]) == ("promote", "m1")


async def test_a_command_is_answered_and_not_resent_after_a_lost_connection() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        assert await chat.command("/help") == "did help"
        server.reply = lambda frame: []
        lost = asyncio.create_task(chat.command("roll", "20"))
        await until(lambda: len(server.sent("command")) == 2)
        server.transports[0].drop()
        with pytest.raises(Disconnected):
            await lost
    assert len(server.sent("command")) == 2


async def test_the_turn_of_a_command_ends_with_its_notice() -> None:
    server = FakeServer()
    server.reply = lambda frame: [
        f.Accepted(reply=frame["id"], position=str(server.head), durability="disk"),
        f.Notice(content="pong", level="info", reply=frame["id"]),
    ]
    async with server.chat() as chat:
        turn = chat.send("ping")
        assert await turn.text() == "pong"
        assert [event async for event in turn] == []

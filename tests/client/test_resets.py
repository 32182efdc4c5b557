"""The log of the server differs from the client's replica: snapshots, lost and new logs."""

from __future__ import annotations

from typing import Any

import pytest

from agentws.client import LogEvent, LogReset, RunCancelled, RunFailed
from agentws.protocol import events as e
from agentws.protocol import messages as m
from tests.virtual import anyio_backend as anyio_backend

from .fakes import (
    FakeServer,
    accepted_message,
    come_back,
    go_away,
    received,
    run_types,
    types,
    until,
)


async def test_a_turn_whose_run_ended_while_disconnected_ends_with_a_snapshot() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        watched = chat.watch()
        turn = chat.send("long ago")
        await turn.accepted()
        await go_away(server, chat)
        server.answer(turn.id, "long ago")
        server.trimmed = server.head.seq
        come_back(server)
        events = [event async for event in turn]
        assert types(events) == ["MESSAGES_SNAPSHOT"]
        assert await turn.text() == "long ago "
        resets = [update async for update in received(watched, LogReset)]
        assert resets == [LogReset("trimmed")]


async def test_a_run_that_failed_while_disconnected_still_raises() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        failed, stopped = chat.send("fail"), chat.send("stop")
        await failed.accepted()
        await stopped.accepted()
        await go_away(server, chat)
        run = server.start(failed.id, "fail")
        server.append(e.RunError("It broke.", "agent_error"), run=run)
        run = server.start(stopped.id, "stop")
        server.finish(run, m.CancelledOutcome())
        server.trimmed = server.head.seq
        come_back(server)
        with pytest.raises(RunFailed, match="It broke"):
            await failed.text()
        with pytest.raises(RunCancelled):
            await stopped.text()


async def test_a_run_that_can_not_be_replayed_follows_from_its_beginning() -> None:
    async with accepted_message("x") as (server, chat, turn):
        run = server.start(turn.id, "x")
        server.append(*server.script("x")[:1], run=run)
        assert (await anext(turn)).run_id == run  # type: ignore[union-attr]
        await go_away(server, chat)
        server.append(*server.script("x")[1:], run=run)
        server.trimmed = server.head.seq
        come_back(server)
        await until(lambda: chat.connection == "open" and chat.position == str(server.head))
        server.finish(run)
        assert types([event async for event in turn]) == run_types(1)
        assert await turn.text() == "x "


async def test_a_queued_message_still_waits_after_a_snapshot() -> None:
    async with accepted_message("x") as (server, chat, turn):
        await go_away(server, chat)
        server.trimmed = server.head.seq + 1
        come_back(server)
        await until(lambda: chat.connection == "open" and not chat._followed.outbox)
        server.answer(turn.id, "x")
        assert await turn.text() == "x "


async def test_a_message_is_resent_to_a_server_that_lost_the_log() -> None:
    async with accepted_message("hi") as (server, chat, turn):
        server.replace_log()
        server.answering = True
        server.transports[0].drop()
        assert await turn.text() == "hi "
        assert [message.id for message in chat.messages] == [turn.id, "msg_of_hi"]


@pytest.mark.parametrize("welcome", [{}, {"resume": "new", "reason": None}])
async def test_a_session_that_was_created_again_resets_the_chat(welcome: dict[str, Any]) -> None:
    """Also when the welcome frame says ``new``."""
    server = FakeServer()
    async with server.chat() as chat:
        watched = chat.watch()
        await chat.ask("hi")
        server.replace_log()
        server.created, server.welcome_patch = False, welcome
        server.transports[0].drop()
        await until(lambda: chat.position == "ep2.0.")
        assert chat.messages == []
        assert [one async for one in received(watched, LogReset)] == [LogReset("lost")]


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("after", ["", "null", "garbage", "ep1.1.", "ep1.1.0123", "x" * 100_000])
async def test_a_malformed_position_resets_the_chat_and_is_not_sent(after: str, made: bool) -> None:
    """In a URL it could be too long for a server."""
    server = FakeServer()
    if made:
        server.created = True
        server.append(e.NoticePosted("hello", "info"))
    chat = server.chat(session="ses_fake", after=after)
    watched = chat.watch()
    async with chat:
        assert [one async for one in received(watched, LogReset)] == [LogReset("lost")]
        assert chat.position == str(server.head)
        await chat.ask("hi")
        server.transports[-1].drop()
        await until(lambda: len(server.openings) == 2 and chat.connection == "open")
        assert [one async for one in received(watched, LogReset)] == []
    assert server.openings[0].after is None and server.openings[1].after == str(server.head)


async def test_a_chat_with_a_new_session_is_not_reset() -> None:
    server = FakeServer()
    chat = server.chat()
    watched = chat.watch()
    async with chat:
        await chat.ask("hi")
        assert [one async for one in received(watched, LogReset)] == []


async def test_events_of_another_log_make_the_chat_reconnect_for_a_snapshot() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        await chat.ask("hi")
        server.replace_log()
        server.append(e.NoticePosted("from another life", "info"))
        await until(lambda: len(server.openings) == 2 and chat.position == str(server.head))
        assert server.openings[1].after is None
        assert chat.messages == []


async def test_a_snapshot_carries_the_shared_state() -> None:
    server = FakeServer()
    server.created = True
    server.append(e.StateSnapshot({"n": 1}))
    async with server.chat() as chat:
        assert chat.state == {"n": 1}
        server.append(e.StateDelta([{"op": "replace", "path": "/n", "value": 2}]))
        await until(lambda: chat.state == {"n": 2})


async def test_an_incomplete_snapshot_is_not_resumed_from() -> None:
    server = FakeServer()
    server.created = True
    server.append(e.NoticePosted("hello", "info"))
    server.drops = [1]
    async with server.chat():
        assert [opening.after for opening in server.openings] == [None, None]


async def test_a_new_chat_resumes_at_the_position_of_an_earlier_one() -> None:
    server = FakeServer()
    server.created = True
    position = server.append(e.NoticePosted("seen", "info"))
    server.append(e.NoticePosted("not seen", "info"))
    chat = server.chat(session="ses_fake", after=str(position))
    seen = chat.watch()
    async with chat:
        entry = await anext(received(seen, LogEvent))
        assert isinstance(entry.event, e.NoticePosted) and entry.event.content == "not seen"

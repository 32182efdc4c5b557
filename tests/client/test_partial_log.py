"""A chat that resumed in the middle of the log, and resends a message from before that position."""

from __future__ import annotations

import pytest

from agentws import errors
from agentws.client import LogReset
from agentws.protocol import events as e
from agentws.protocol import messages as m
from tests.virtual import anyio_backend as anyio_backend

from .fakes import FakeServer, go_away, received, types, until


async def test_a_message_answered_before_the_position_gets_its_answer_from_a_snapshot() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        await chat.ask("long ago", id="my-own-id")
        await chat.ask("since then")
    chat = server.chat(session="ses_fake", after=str(server.head))
    watched = chat.watch()
    async with chat:
        turn = chat.send("long ago", id="my-own-id")
        assert await turn.text() == "long ago "
        assert types([event async for event in turn]) == ["MESSAGES_SNAPSHOT"]
        # The chat holds the whole log from here on.
        assert await chat.ask("since then") == "since then "
        assert await chat.ask("new") == "new "
        assert [one.id for one in chat.messages][::2][0] == "my-own-id"
        assert len([reset async for reset in received(watched, LogReset)]) == 1
    assert [opening.after is None for opening in server.openings[1:]] == [False, True]


async def test_a_message_queued_before_the_position_is_answered_by_its_run() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        await chat.send("x", id="my-own-id").accepted()
    position = server.append(e.NoticePosted("seen", "info"))
    async with server.chat(session="ses_fake", after=str(position)) as chat:
        turn = chat.send("x", id="my-own-id")
        await until(lambda: len(server.openings) == 3 and not chat._followed.outbox)
        server.answer("my-own-id", "x")
        assert types([event async for event in turn])[0] == "RUN_STARTED"
        assert await turn.text() == "x "


async def test_a_message_whose_run_is_active_at_the_position_gets_the_whole_answer() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        await chat.send("x", id="my-own-id").accepted()
    run = server.start("my-own-id", "x")
    server.append(*server.script("x")[:1], run=run)
    async with server.chat(session="ses_fake", after=str(server.head)) as chat:
        turn = chat.send("x", id="my-own-id")
        await until(lambda: len(server.openings) == 3 and not chat._followed.outbox)
        server.append(*server.script("x")[1:], run=run)
        server.finish(run)
        assert await turn.text() == "x "


async def test_a_message_accepted_after_the_position_needs_no_snapshot() -> None:
    server = FakeServer()
    server.created = True
    position = server.append(e.NoticePosted("seen", "info"))
    server.append(e.MessageAccepted(m.UserMessage("theirs", "x"), "queue"))
    server.known["theirs"] = server.head
    server.answer("theirs", "x")
    async with server.chat(session="ses_fake", after=str(position)) as chat:
        assert await chat.ask("x", id="theirs") == "x "
    assert len(server.openings) == 1


async def test_a_message_that_no_snapshot_holds_raises_not_found() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        await chat.ask("old", id="my-own-id")
        server.append(e.HistoryCleared())
        await go_away(server, chat)
    chat = server.chat(session="ses_fake")
    server.refuse_opening = lambda attempt: None
    async with chat:
        with pytest.raises(errors.NotFound, match="accepted before"):
            await chat.ask("old", id="my-own-id")

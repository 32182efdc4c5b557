"""A chat over a connection that drops and duplicates: turns, resuming, entering and leaving."""

from __future__ import annotations

import asyncio
import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentws.client import ChatClosed, LogEvent
from agentws.testing.virtual import virtual_run
from tests.virtual import anyio_backend as anyio_backend

from .fakes import FakeServer, come_back, go_away, run_types, types, until


async def test_a_turn_yields_the_events_of_its_run() -> None:
    async with FakeServer().chat() as chat:
        events = [event async for event in chat.send("one two three")]
        assert types(events) == run_types(3)
        assert await chat.ask("more") == "more "
        roles = [message.__struct_config__.tag for message in chat.messages]
        assert roles == ["user", "assistant", "user", "assistant"]
        assert chat.session == "ses_fake"


async def test_a_turn_can_be_read_after_its_end_and_keeps_its_text() -> None:
    async with FakeServer().chat() as chat:
        turn = chat.send("one two three")
        assert await turn.text() == "one two three "
        assert types([event async for event in turn]) == run_types(3)
        accepted = await turn.accepted()
        assert accepted is not None and accepted.durability == "disk"


@pytest.mark.parametrize("duplicates", [False, True])
@pytest.mark.parametrize("first", range(1, 12))
async def test_a_turn_survives_a_lost_connection_after_any_frame(
    first: int, duplicates: bool
) -> None:
    server = FakeServer()
    server.duplicates = duplicates
    server.drops = [first, first, first]
    async with server.chat() as chat:
        turn = chat.send("one two three")
        assert types([event async for event in turn]) == run_types(3)
        assert await turn.text() == "one two three "
    assert len(server.known) == 1


@settings(max_examples=150, deadline=None)
@given(
    drops=st.lists(st.integers(1, 14), max_size=6),
    duplicates=st.booleans(),
    texts=st.lists(st.sampled_from(["a", "b c", "d e f"]), min_size=1, max_size=4, unique=True),
)
def test_every_event_comes_once_and_in_order_however_connections_drop(
    drops: list[int], duplicates: bool, texts: list[str]
) -> None:
    async def scenario() -> None:
        server = FakeServer()
        server.drops, server.duplicates = drops, duplicates
        chat = server.chat()
        seen = chat.watch()
        async with chat, asyncio.timeout(5):
            turns = [chat.send(text) for text in texts]
            assert [await turn.text() for turn in turns] == [text + " " for text in texts]
            await until(lambda: chat.position == str(server.head))
        entries = [update async for update in seen if isinstance(update, LogEvent)]
        whole = [str(record.seq) for record in server.records]
        assert [entry.position.split(".")[1] for entry in entries] == whole

    virtual_run(scenario())


async def test_a_reconnect_resumes_the_session_at_its_position() -> None:
    server = FakeServer()
    async with server.chat(agent="support", token=lambda: "secret") as chat:
        await chat.ask("hi")
        await until(lambda: chat.position == str(server.head))
        server.transports[0].drop()
        await until(lambda: len(server.openings) == 2)
    first, second = server.openings
    assert first.query == {"agent": "support"}
    assert second.query == {"session": "ses_fake", "agent": "support", "after": str(server.head)}
    assert second.subprotocols == ["agentws.v1", "agentws.bearer.c2VjcmV0"]
    assert "secret" not in repr(second)


async def test_a_message_sent_while_disconnected_goes_out_after_the_reconnect() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        await go_away(server, chat)
        turn = chat.send("hi")
        come_back(server)
        assert await turn.text() == "hi "


async def test_an_event_of_an_unknown_type_only_moves_the_position() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        position = "ep1.7.0123456789abcdef"
        server.transports[0].push(b'{"id":"%b","event":{"type":"NEW"}}' % position.encode())
        server.transports[0].push(b'{"type":"new.frame","x":1}')
        await until(lambda: chat.position == position)


async def test_leaving_waits_until_sent_messages_are_accepted() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        chat.send("fire and forget")
    assert len(server.known) == 1


async def test_a_chat_raises_chat_closed_before_entering_and_after_leaving() -> None:
    server = FakeServer()
    chat = server.chat()
    with pytest.raises(ChatClosed):
        chat.send("too early")
    server.answering = False
    async with chat:
        turn, watched = chat.send("hi"), chat.events()
        await turn.accepted()
    with pytest.raises(ChatClosed):
        await turn.text()
    with pytest.raises(ChatClosed):
        chat.send("too late")
    assert [types([entry.event]) async for entry in watched] == [["message.accepted"]]
    with pytest.raises(ChatClosed):
        async with chat:
            raise AssertionError("entered twice")
    assert not [task for task in asyncio.all_tasks() if "agentws" in task.get_name()]


async def test_an_exception_in_the_body_closes_the_connection() -> None:
    server = FakeServer()
    with pytest.raises(KeyError):
        async with server.chat():
            raise KeyError
    assert server.transports[0].closed


async def test_a_turn_without_a_reference_is_freed() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        await chat.send("hi").accepted()
        gc.collect()
        assert chat._followed.turns.open() == []

"""The client against a server that drops, doubles, forgets and refuses."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentws import errors
from agentws.client import (
    ChatClosed,
    ConnectionChange,
    Disconnected,
    LogEvent,
    LogReset,
    MessageWithdrawn,
    Refused,
    RunCancelled,
    RunFailed,
    TransportClosed,
)
from agentws.protocol import events as e
from agentws.protocol import frames as f
from agentws.protocol import messages as m

from .fakes import FAST, FakeServer, come_back, go_away, take, types, until

WHOLE = [
    "RUN_STARTED",
    "TEXT_MESSAGE_START",
    "TEXT_MESSAGE_CONTENT",
    "TEXT_MESSAGE_CONTENT",
    "TEXT_MESSAGE_CONTENT",
    "TEXT_MESSAGE_END",
    "RUN_FINISHED",
]


async def test_a_turn_gives_the_events_of_its_run() -> None:
    async with FakeServer().chat() as chat:
        events = [event async for event in chat.send("one two three")]
        assert types(events) == WHOLE
        assert await chat.ask("more") == "more "
        assert [message.role for message in wire(chat.messages)] == [
            "user",
            "assistant",
            "user",
            "assistant",
        ]
        assert chat.session == "ses_fake"


def wire(messages: list[m.Message]) -> list[Any]:
    """Messages with the role that the wire gives them."""

    class Read:
        def __init__(self, message: m.Message) -> None:
            self.role = message.__struct_config__.tag

    return [Read(message) for message in messages]


async def test_a_turn_can_be_read_late_and_leaves_its_text() -> None:
    async with FakeServer().chat() as chat:
        turn = chat.send("one two three")
        assert await turn.text() == "one two three "
        assert types([event async for event in turn]) == WHOLE
        accepted = await turn.accepted()
        assert accepted is not None and accepted.durability == "disk"


@pytest.mark.parametrize("duplicates", [False, True])
@pytest.mark.parametrize("first", range(1, 12))
async def test_a_drop_after_any_frame_is_not_noticed(first: int, duplicates: bool) -> None:
    server = FakeServer()
    server.duplicates = duplicates
    server.drops = [first, first, first]
    async with server.chat() as chat:
        turn = chat.send("one two three")
        assert types([event async for event in turn]) == WHOLE
        assert await turn.text() == "one two three "
    assert len(server.known) == 1


@settings(max_examples=150, deadline=None)
@given(
    drops=st.lists(st.integers(1, 14), max_size=6),
    duplicates=st.booleans(),
    texts=st.lists(st.sampled_from(["a", "b c", "d e f"]), min_size=1, max_size=4, unique=True),
)
def test_whatever_is_dropped_everything_comes_once_and_in_order(
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

    asyncio.run(scenario())


async def test_it_resumes_in_its_session_at_its_position() -> None:
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


async def test_a_message_sent_while_away_goes_out_later() -> None:
    server = FakeServer()
    server.refuse = lambda attempt: TransportClosed() if attempt in (2, 3) else None
    async with server.chat() as chat:
        server.transports[0].drop()
        await until(lambda: chat.connection == "reconnecting")
        assert await chat.ask("hi") == "hi "


async def test_leaving_waits_until_what_was_sent_is_accepted() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        chat.send("fire and forget")
    assert len(server.known) == 1


# The log is not what it was


async def test_a_turn_whose_run_ended_out_of_sight_ends_with_the_conversation() -> None:
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
        resets = [update async for update in take(watched, LogReset)]
        assert resets == [LogReset("trimmed")]


async def test_a_failed_end_out_of_sight_is_still_a_failure() -> None:
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


async def test_a_run_that_can_not_be_continued_begins_again() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        turn = chat.send("x")
        await turn.accepted()
        run = server.start(turn.id, "x")
        server.append(*server.script("x")[:1], run=run)
        assert (await anext(turn)).run_id == run  # type: ignore[union-attr]
        await go_away(server, chat)
        server.append(*server.script("x")[1:], run=run)
        server.trimmed = server.head.seq
        come_back(server)
        await until(lambda: chat.connection == "open" and chat.position == str(server.head))
        server.finish(run)
        assert types([event async for event in turn]) == [WHOLE[0], *WHOLE[1:3], *WHOLE[-2:]]
        assert await turn.text() == "x "


async def test_a_queued_message_waits_through_a_snapshot() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        turn = chat.send("x")
        await turn.accepted()
        await go_away(server, chat)
        server.trimmed = server.head.seq + 1
        come_back(server)
        await until(lambda: chat.connection == "open" and not chat._follower.outbox)
        server.answer(turn.id, "x")
        assert await turn.text() == "x "


async def test_a_log_that_was_lost_is_given_the_message_again() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        turn = chat.send("hi")
        await turn.accepted()
        server.lose_everything()
        server.answering = True
        server.transports[0].drop()
        assert await turn.text() == "hi "
        assert [message.id for message in chat.messages] == [turn.id, "msg_of_hi"]


@pytest.mark.parametrize("welcome", [{}, {"resume": "new", "reason": None}])
async def test_a_session_that_was_made_anew_drops_what_was_known(welcome: dict[str, Any]) -> None:
    """Also where a server says that it is new, which says as much."""
    server = FakeServer()
    async with server.chat() as chat:
        watched = chat.watch()
        await chat.ask("hi")
        server.lose_everything()
        server.made, server.welcome_patch = False, welcome
        server.transports[0].drop()
        await until(lambda: chat.position == "ep2.0.")
        assert chat.messages == []
        assert [one async for one in take(watched, LogReset)] == [LogReset("lost")]


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("after", ["", "null", "garbage", "ep1.1.", "ep1.1.0123", "x" * 100_000])
async def test_a_position_that_can_not_be_read_is_lost_and_never_asked_for(
    after: str, made: bool
) -> None:
    """In an address it could be too long for any server to read."""
    server = FakeServer()
    if made:
        server.made = True
        server.append(e.NoticePosted("hello", "info"))
    chat = server.chat(session="ses_fake", after=after)
    watched = chat.watch()
    async with chat:
        assert [one async for one in take(watched, LogReset)] == [LogReset("lost")]
        assert chat.position == str(server.head)
        await chat.ask("hi")
        server.transports[-1].drop()
        await until(lambda: len(server.openings) == 2 and chat.connection == "open")
        assert [one async for one in take(watched, LogReset)] == []
    assert server.openings[0].after is None and server.openings[1].after == str(server.head)


async def test_a_session_that_is_new_for_a_new_chat_is_no_loss() -> None:
    server = FakeServer()
    chat = server.chat()
    watched = chat.watch()
    async with chat:
        await chat.ask("hi")
        assert [one async for one in take(watched, LogReset)] == []


async def test_another_log_without_a_word_is_not_taken_for_this_one() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        await chat.ask("hi")
        server.lose_everything()
        server.append(e.NoticePosted("from another life", "info"))
        await until(lambda: len(server.openings) == 2 and chat.position == str(server.head))
        assert server.openings[1].after is None
        assert chat.messages == []


async def test_shared_state_survives_a_snapshot() -> None:
    server = FakeServer()
    server.made = True
    server.append(e.StateSnapshot({"n": 1}))
    async with server.chat() as chat:
        assert chat.state == {"n": 1}
        server.append(e.StateDelta([{"op": "replace", "path": "/n", "value": 2}]))
        await until(lambda: chat.state == {"n": 2})


async def test_half_a_snapshot_is_not_resumed_from() -> None:
    server = FakeServer()
    server.made = True
    server.append(e.NoticePosted("hello", "info"))
    server.drops = [1]
    async with server.chat():
        assert [opening.after for opening in server.openings] == [None, None]


async def test_it_goes_on_from_a_position_of_an_earlier_life() -> None:
    server = FakeServer()
    server.made = True
    position = server.append(e.NoticePosted("seen", "info"))
    server.append(e.NoticePosted("not seen", "info"))
    chat = server.chat(session="ses_fake", after=str(position))
    seen = chat.watch()
    async with chat:
        entry = await anext(take(seen, LogEvent))
        assert isinstance(entry.event, e.NoticePosted) and entry.event.content == "not seen"


async def test_an_unknown_event_only_moves_the_position() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        position = "ep1.7.0123456789abcdef"
        server.transports[0].push(b'{"id":"%b","event":{"type":"NEW"}}' % position.encode())
        server.transports[0].push(b'{"type":"new.frame","x":1}')
        await until(lambda: chat.position == position)


# How turns end


async def test_a_failed_run_raises_with_what_it_said() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        turn = chat.send("x")
        await turn.accepted()
        run = server.start(turn.id, "x")
        server.append(*server.script("x"), run=run)
        server.append(e.RunError("No.", "agent_error"), run=run)
        with pytest.raises(RunFailed, match="No") as failed:
            await turn.text()
        assert (failed.value.text, failed.value.server_code) == ("x ", "agent_error")
        assert types([event async for event in turn])[-1] == "RUN_ERROR"


async def test_cancel_names_the_message_and_ends_with_what_was_said() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        turn = chat.send("x")
        await turn.accepted()
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


async def test_a_withdrawn_message_has_no_answer() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        turn = chat.send("x")
        await turn.accepted()
        await chat.withdraw(turn.id)
        server.append(e.MessageWithdrawn(turn.id, "user"))
        with pytest.raises(MessageWithdrawn):
            await turn.text()
        with pytest.raises(MessageWithdrawn):
            await anext(turn)


async def test_a_message_that_is_withdrawn_while_it_is_answered_is_stopped() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        turn = chat.send("x")
        await turn.accepted()
        run = server.start(turn.id, "x")
        server.append(*server.script("x"), run=run)
        server.append(e.MessageWithdrawn(turn.id, "user"))
        server.finish(run, m.CancelledOutcome())
        with pytest.raises(RunCancelled) as stopped:
            await turn.text()
        assert stopped.value.text == "x "
        assert types([event async for event in turn])[-1] == "RUN_FINISHED"


async def test_a_message_that_was_answered_long_ago_is_answered_from_the_log() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        assert await chat.ask("hi", id="my-own-id") == "hi "
        assert await chat.ask("hi", id="my-own-id") == "hi "
    assert len(server.sent("send")) == 2


async def test_a_steered_message_is_answered_by_the_rest_of_the_run() -> None:
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
        server.append(e.MessageSteered(late.id, "undelivered", "The run ended."), run=run)
        server.append(*server.script("both"), run=run)
        server.finish(run)
        assert await first.text() == await second.text() == "both "
        with pytest.raises(errors.Conflict, match="The run ended"):
            await late.text()


async def test_commands_are_answered_and_not_repeated() -> None:
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


async def test_a_message_that_is_a_command_is_answered_by_its_notice() -> None:
    server = FakeServer()
    server.reply = lambda frame: [
        f.Accepted(reply=frame["id"], position=str(server.head), durability="disk"),
        f.Notice(content="pong", level="info", reply=frame["id"]),
    ]
    async with server.chat() as chat:
        turn = chat.send("ping")
        assert await turn.text() == "pong"
        assert [event async for event in turn] == []


# Refusals


async def test_what_may_pass_is_tried_again_and_keeps_its_place() -> None:
    server = FakeServer()
    refusals = [f.Error(code="unavailable", message="Not now.", retryable=True, retry_after=0.01)]

    def reply(frame: dict[str, Any]) -> list[f.ControlFrame] | None:
        if frame["type"] != "send" or not refusals:
            return None
        error = refusals.pop()
        return [f.Error(**{**fields(error), "reply": frame["id"]})]

    server.reply = reply
    async with server.chat() as chat:
        first = chat.send("first")
        await until(lambda: server.frames and not refusals)
        second = chat.send("second")
        assert [await first.text(), await second.text()] == ["first ", "second "]
    assert [frame["content"] for frame in server.sent("send")] == ["first", "first", "second"]


def fields(frame: f.Error) -> dict[str, Any]:
    return {name: getattr(frame, name) for name in frame.__struct_fields__}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("run_active", errors.RunActive),
        ("queue_full", errors.QueueFull),
        ("idempotency_conflict", errors.IdempotencyConflict),
        ("too_large", errors.TooLarge),
        ("from_the_future", Refused),
    ],
)
async def test_a_refused_message_raises(code: str, kind: type[Exception]) -> None:
    server = FakeServer()
    retryable = code in ("run_active", "queue_full")
    server.reply = lambda frame: [
        f.Error(code=code, message="No.", retryable=retryable, reply=frame["id"])
    ]
    async with server.chat() as chat:
        turn = chat.send("hi")
        for wait in (turn.text(), turn.accepted(), anext(turn)):
            with pytest.raises(kind, match="No"):
                await wait
    assert len(server.frames) == 1


async def test_a_message_over_the_servers_limit_is_not_sent() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        with pytest.raises(errors.TooLarge):
            await chat.ask("ü" * 40_000)
        assert await chat.ask("fits") == "fits "

        def drop(frame: object) -> list[f.ControlFrame]:
            server.transports[-1].drop(1009)
            return []

        server.reply = drop
        with pytest.raises(errors.TooLarge):
            await chat.ask("too big for something on the way")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (4400, errors.BadRequest),
        (4401, errors.Unauthenticated),
        (4403, errors.Forbidden),
        (4404, errors.NotFound),
        (4409, errors.Conflict),
        (4413, errors.TooLarge),
        (4418, Refused),
        (1008, errors.Forbidden),
    ],
)
async def test_a_fatal_close_raises_everywhere(code: int, kind: type[Exception]) -> None:
    server = FakeServer()
    server.refuse = lambda attempt: TransportClosed(code, "Go away.")
    with pytest.raises(kind, match="Go away"):
        async with server.chat():
            raise AssertionError("entered")
    assert len(server.openings) == 1

    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        turn = chat.send("hi")
        await turn.accepted()
        watched = chat.events()
        server.transports[0].drop(code, "Go away.")
        for wait in (turn.text(), anext(turn), anext(watched)):
            with pytest.raises(kind, match="Go away"):
                await wait
        with pytest.raises(kind, match="Go away"):
            chat.send("again")
        assert chat.connection == "closed"
    assert len(server.openings) == 1


async def test_a_fatal_close_that_nobody_saw_is_raised_on_leaving() -> None:
    server = FakeServer()
    with pytest.raises(errors.Forbidden):
        async with server.chat() as chat:
            server.transports[0].drop(4403, "Not yours.")
            await until(lambda: chat.connection == "closed")


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012, 1013, 4408, 4429, 4500, 4503])
async def test_other_closes_are_tried_again(code: int) -> None:
    server = FakeServer()
    async with server.chat() as chat:
        server.transports[0].drop(code)
        assert await chat.ask("hi") == "hi "
    assert len(server.openings) == 2


async def test_the_servers_word_on_trying_again_decides() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        server.transports[0].push(f.Bye(code=4403, reason="Moving you.", retryable=True))
        server.transports[0].drop(4403)
        assert await chat.ask("hi") == "hi "
        server.transports[1].push(f.Bye(code=4503, reason="Closed down.", retryable=False))
        server.transports[1].drop(4503)
        with pytest.raises(errors.Unavailable, match="Closed down"):
            await chat.ask("hi")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("bad_request", errors.BadRequest), ("from_the_future", Refused), ("", Refused)],
)
async def test_the_sentence_of_a_goodbye_is_kept(reason: str, kind: type[Exception]) -> None:
    server = FakeServer()
    async with server.chat() as chat:
        watched = chat.events()
        sentence = "The session id is too short."
        bye = f.Bye(code=4418, reason=reason, message=sentence, retryable=False)
        server.transports[0].push(bye)
        server.transports[0].drop(4418, reason)
        with pytest.raises(kind, match=sentence):
            await anext(watched)


async def test_a_server_that_says_bye_and_does_not_close_is_left() -> None:
    server = FakeServer()
    async with server.chat():
        server.transports[0].push(f.Bye(code=1012, reason="Restart.", retryable=True))
        await until(lambda: len(server.openings) == 2)
    assert server.transports[0].closed and not server.sent("ping")


async def test_the_servers_hint_when_to_return_is_kept() -> None:
    server = FakeServer()
    chat = server.chat()
    watched = chat.watch()
    async with chat:
        bye = f.Bye(code=1012, reason="Restart.", retryable=True, retry_after=0.02)
        server.transports[0].push(bye)
        server.transports[0].drop(1012)
        await until(lambda: len(server.openings) == 2)
    changes = [update async for update in watched if isinstance(update, ConnectionChange)]
    assert [change.state for change in changes] == [
        "connecting",
        "open",
        "reconnecting",
        "open",
        "closed",
    ]
    assert changes[2].delay >= 0.02 and "Restart" in changes[2].why


async def test_credentials_that_ran_out_are_renewed() -> None:
    server = FakeServer()
    tokens = iter(["old", "new"])

    async def token() -> str:
        return next(tokens)

    async with server.chat(token=token) as chat:
        server.transports[0].drop(4401, "Expired.")
        assert await chat.ask("hi") == "hi "
    assert [opening.token for opening in server.openings] == ["old", "new"]


async def test_credentials_that_can_not_be_had_just_now_are_asked_for_again() -> None:
    server = FakeServer()
    answers: list[Any] = ["old", OSError("The key server is down."), ValueError("No JSON."), "new"]

    async def token() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    chat = server.chat(token=token)
    watched = chat.watch()
    async with chat:
        server.transports[0].drop()
        assert await chat.ask("hi") == "hi "
    assert [opening.token for opening in server.openings] == ["old", "new"]
    changes = [update.why async for update in take(watched, ConnectionChange)]
    assert [why for why in changes if "token" in why] == [
        "There is no token to be had (OSError).",
        "There is no token to be had (ValueError).",
    ]


async def test_no_server_within_the_time_is_an_error_that_says_why() -> None:
    server = FakeServer()
    server.refuse = lambda attempt: TransportClosed(1006, "Connection refused.")
    with pytest.raises(Disconnected, match="Connection refused"):
        async with server.chat(connect_timeout=0.05):
            raise AssertionError("entered")
    assert len(server.openings) > 1


async def test_a_bug_in_a_callback_comes_to_light() -> None:
    server = FakeServer()

    def token() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with server.chat(token=token):
            raise AssertionError("entered")


async def test_what_is_no_frame_ends_the_chat() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        watched = chat.events()
        server.transports[0].push(b"<html>")
        with pytest.raises(errors.Internal, match="no frame"):
            await anext(watched)


# Dead connections


async def test_a_silent_server_is_asked_and_replaced() -> None:
    server = FakeServer()
    server.heartbeat = 0.02
    async with server.chat() as chat:
        await until(lambda: server.sent("ping"))
        assert len(server.openings) == 1
        server.transports[0].silent = True
        assert await chat.ask("hi") == "hi "
    assert server.transports[0].closed


async def test_a_handshake_without_end_is_given_up() -> None:
    server = FakeServer()
    server.heartbeat = 30

    async def stuck(opening: Any) -> Any:
        if not server.openings:
            server.openings.append(opening)
            await asyncio.Event().wait()
        return await server.open(opening)

    from agentws.client import Chat

    async with Chat(stuck, timing=FAST._replace(opening=0.02)) as chat:
        assert await chat.ask("hi") == "hi "


# Ownership


async def test_a_chat_that_was_left_says_so() -> None:
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


async def test_the_chat_is_closed_when_the_body_raises() -> None:
    server = FakeServer()
    with pytest.raises(KeyError):
        async with server.chat():
            raise KeyError
    assert server.transports[0].closed


async def test_a_turn_that_was_let_go_holds_nothing() -> None:
    server = FakeServer()
    server.answering = False
    async with server.chat() as chat:
        await chat.send("hi").accepted()
        gc.collect()
        assert chat._follower.turns.open() == []

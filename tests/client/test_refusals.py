"""What the server refuses: which refusals are retried, and what the others raise."""

from __future__ import annotations

import re
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from agentws import errors
from agentws.client import Refused, TransportClosed, connect
from agentws.protocol import frames as f

from .fakes import FakeServer, accepted_message, until


async def test_a_retryable_refusal_is_retried_and_keeps_the_order() -> None:
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
async def test_a_refused_message_raises_the_refusal(code: str, kind: type[Exception]) -> None:
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


async def test_a_message_larger_than_the_servers_limit_is_not_sent() -> None:
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
            await chat.ask("too large for a proxy")


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
async def test_a_fatal_close_raises_wherever_the_application_waits(
    code: int, kind: type[Exception]
) -> None:
    server = FakeServer()
    server.refuse_opening = lambda attempt: TransportClosed(code, "Go away.")
    with pytest.raises(kind, match="Go away"):
        async with server.chat():
            raise AssertionError("entered")
    assert len(server.openings) == 1

    async with accepted_message("hi") as (server, chat, turn):
        watched = chat.events()
        server.transports[0].drop(code, "Go away.")
        for wait in (turn.text(), anext(turn), anext(watched)):
            with pytest.raises(kind, match="Go away"):
                await wait
        with pytest.raises(kind, match="Go away"):
            chat.send("again")
        assert chat.connection == "closed"
    assert len(server.openings) == 1


async def test_leaving_raises_a_fatal_close_that_nothing_waited_for() -> None:
    server = FakeServer()
    with pytest.raises(errors.Forbidden):
        async with server.chat() as chat:
            server.transports[0].drop(4403, "Not yours.")
            await until(lambda: chat.connection == "closed")


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012, 1013, 4408, 4429, 4500, 4503])
async def test_other_closes_are_followed_by_a_reconnect(code: int) -> None:
    server = FakeServer()
    async with server.chat() as chat:
        server.transports[0].drop(code)
        assert await chat.ask("hi") == "hi "
    assert len(server.openings) == 2


async def test_the_retryable_field_of_bye_overrules_the_close_code() -> None:
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
async def test_the_message_of_bye_becomes_the_message_of_the_error(
    reason: str, kind: type[Exception]
) -> None:
    server = FakeServer()
    async with server.chat() as chat:
        watched = chat.events()
        sentence = "The session id is too short."
        bye = f.Bye(code=4418, reason=reason, message=sentence, retryable=False)
        server.transports[0].push(bye)
        server.transports[0].drop(4418, reason)
        with pytest.raises(kind, match=sentence):
            await anext(watched)


async def test_an_invalid_frame_ends_the_chat() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        watched = chat.events()
        server.transports[0].push(b"<html>")
        with pytest.raises(errors.Internal, match="not a valid frame"):
            await anext(watched)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"content": b"hello"}, "Expected `str | array`, got `bytes`"),
    ({"content": None}, "got `null`"),
    ({"content": ["hello"]}, "Expected `object`, got `str`"),
    ({"content": "x", "id": 5}, "Expected `str`, got `int`"),
    ({"content": "x", "id": UUID(int=5)}, "Expected `str`, got `UUID`"),
    ({"content": "x", "id": date(2026, 1, 2)}, "Expected `str`, got `date`"),
    ({"content": "half an emoji \ud83d"}, "it has lone surrogates"),
    ({"content": "x", "metadata": {"a": "\ude00"}}, "it has lone surrogates"),
    ({"content": "x", "overlap": "now"}, "Invalid enum value 'now'"),
    ({"content": "x", "attachments": [5]}, "Expected `str`, got `int`"),
    ({"content": "x", "metadata": [1]}, "Expected `object | null`, got `array`"),
    ({"content": "x", "metadata": {"a": float("nan")}}, "contains NaN"),
]


@pytest.mark.parametrize(("options", "said"), WRONG, ids=[said for _, said in WRONG])
async def test_a_message_that_json_would_change_is_refused_where_it_is_sent(
    options: dict[str, Any], said: str
) -> None:
    server = FakeServer()
    async with server.chat() as chat:
        with pytest.raises(errors.BadRequest, match=re.escape(said)):
            chat.send(**options)
        assert await chat.ask("still here") == "still here "
    assert [frame["content"] for frame in server.sent("send")] == ["still here"]


class Found(str):
    """Like the text that a library finds in a page."""


async def test_a_message_may_have_subclasses_of_str() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        text, id = Found("hello"), Found("m1")
        assert await chat.ask(text, id=id, metadata={"of": [text]}) == "hello "
        await chat.answer(Found("q1"), text)
    [sent], [answered] = server.sent("send"), server.sent("answer")
    assert (sent["id"], sent["content"], sent["metadata"]) == ("m1", "hello", {"of": ["hello"]})
    assert (answered["interrupt"], answered["payload"]) == ("q1", "hello")


async def test_an_id_that_json_has_as_text_is_refused_where_an_answer_is_known_by_it() -> None:
    server = FakeServer()
    async with server.chat() as chat:
        await chat.ask("hello", id=str(UUID(int=5)))
        given: Any = UUID(int=5)
        with pytest.raises(errors.BadRequest, match="got `UUID` as an id"):
            chat.regenerate(given)
        with pytest.raises(errors.BadRequest, match="not the name of a topic"):
            await chat.subscribe(given)
    assert not server.sent("regenerate") and not server.sent("subscribe")


@pytest.mark.parametrize(
    "options",
    [
        {"url": 5},
        {"url": None},
        {"token": 5},
        {"proxy": False},
        {"proxy": 5},
        {"connect_timeout": ""},
    ],
)
async def test_an_option_of_another_type_is_a_type_error(options: dict[str, Any]) -> None:
    given = {"url": "ws://127.0.0.1:1/", **options}
    with pytest.raises(TypeError, match=r"(is|token) .*; expected"):
        async with connect(given.pop("url"), **given):
            pass


@pytest.mark.parametrize("seconds", [-1, 0, float("nan"), float("inf")])
def test_a_connect_timeout_that_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="connect_timeout is .*; expected seconds"):
        connect("ws://127.0.0.1:1/", connect_timeout=seconds)

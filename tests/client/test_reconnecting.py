"""Reconnecting: announced restarts, expired tokens, half-open connections, deadlines."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentws.client import Chat, ConnectionChange, Disconnected, TransportClosed
from agentws.protocol import frames as f
from tests.virtual import anyio_backend as anyio_backend

from .fakes import FAST, FakeServer, received, until


async def test_the_client_closes_when_the_server_does_not_after_bye() -> None:
    server = FakeServer()
    async with server.chat():
        server.transports[0].push(f.Bye(code=1012, reason="Restart.", retryable=True))
        await until(lambda: len(server.openings) == 2)
    assert server.transports[0].closed and not server.sent("ping")


async def test_a_reconnect_waits_as_long_as_the_server_asked_for() -> None:
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


async def test_an_expired_token_is_renewed() -> None:
    server = FakeServer()
    tokens = iter(["old", "new"])

    async def token() -> str:
        return next(tokens)

    async with server.chat(token=token) as chat:
        server.transports[0].drop(4401, "Expired.")
        assert await chat.ask("hi") == "hi "
    assert [opening.token for opening in server.openings] == ["old", "new"]


async def test_a_token_callable_that_fails_after_the_first_connection_is_retried() -> None:
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
    changes = [update.why async for update in received(watched, ConnectionChange)]
    assert [why for why in changes if "token" in why] == [
        "The token callable failed (OSError).",
        "The token callable failed (ValueError).",
    ]


async def test_a_token_callable_that_fails_at_first_raises_from_entering() -> None:
    server = FakeServer()

    def token() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with server.chat(token=token):
            raise AssertionError("entered")


async def test_entering_raises_the_reason_when_no_server_answers_in_time() -> None:
    server = FakeServer()
    server.refuse_opening = lambda attempt: TransportClosed(1006, "Connection refused.")
    with pytest.raises(Disconnected, match="Connection refused"):
        async with server.chat(connect_timeout=0.05):
            raise AssertionError("entered")
    assert len(server.openings) > 1


async def test_a_half_open_connection_is_detected_by_a_ping_and_replaced() -> None:
    server = FakeServer()
    server.heartbeat = 0.02
    async with server.chat() as chat:
        await until(lambda: server.sent("ping"))
        assert len(server.openings) == 1
        server.transports[0].half_open = True
        assert await chat.ask("hi") == "hi "
    assert server.transports[0].closed


async def test_a_handshake_that_takes_too_long_is_retried() -> None:
    server = FakeServer()
    server.heartbeat = 30

    async def stuck(opening: Any) -> Any:
        if not server.openings:
            server.openings.append(opening)
            await asyncio.Event().wait()
        return await server.open(opening)

    async with Chat(stuck, timing=FAST._replace(opening=0.02)) as chat:
        assert await chat.ask("hi") == "hi "

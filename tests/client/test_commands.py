"""Commands, as frames and as text: each runs at most once, and its output is its answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentws import errors
from agentws.agents.commands import parse_command
from agentws.client import Chat, Disconnected, Refused, outbox
from agentws.client.outbox import is_command
from agentws.protocol import frames as f
from agentws.protocol import messages as m
from tests.virtual import anyio_backend as anyio_backend

from .fakes import FakeServer, until


def accepted(server: FakeServer, frame: dict[str, Any]) -> f.Accepted:
    return f.Accepted(reply=frame["id"], position=str(server.head), durability="disk")


def refuse(server: FakeServer, code: str, *, times: int = 1000) -> None:
    """Refuses that many requests, as retryable."""
    left = times

    def reply(frame: dict[str, Any]) -> list[f.ControlFrame]:
        nonlocal left
        left -= 1
        if left >= 0:
            error = f.Error(
                code=code, message="No.", retryable=True, reply=frame["id"], retry_after=0.001
            )
            return [error]
        said = f.Notice(content="done", level="info", reply=frame["id"])
        return [accepted(server, frame), said]

    server.reply = reply


async def by_frame(chat: Chat) -> str:
    return await chat.command("pay", "20")


async def by_text(chat: Chat) -> str:
    return await chat.ask("/pay 20")


BOTH = pytest.mark.parametrize("pay", [by_frame, by_text])


@BOTH
@pytest.mark.parametrize("code", ["internal", "timed_out", "from_the_future"])
async def test_a_command_that_may_have_run_is_not_retried(pay: Any, code: str) -> None:
    server = FakeServer()
    refuse(server, code)
    async with server.chat() as chat:
        with pytest.raises((errors.Internal, errors.TimedOut, Refused), match="No"):
            await pay(chat)
    assert len(server.frames) == 1


@BOTH
@pytest.mark.parametrize("code", ["too_many", "unavailable", "draining"])
async def test_a_command_that_was_refused_before_it_began_is_retried(
    pay: Any, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "RETRY_BASE", 0.001)
    server = FakeServer()
    refuse(server, code, times=2)
    async with server.chat() as chat:
        assert await pay(chat) == "done"
    assert len(server.frames) == 3


@BOTH
@pytest.mark.parametrize("acknowledged", [False, True])
async def test_a_command_is_not_resent_after_a_lost_connection(
    pay: Any, acknowledged: bool
) -> None:
    """Neither before any reply, nor between its acceptance and its output."""
    server = FakeServer()
    server.reply = lambda frame: [accepted(server, frame)] if acknowledged else []
    async with server.chat() as chat:
        paying = asyncio.create_task(pay(chat))
        await until(lambda: server.frames)
        server.transports[0].drop()
        with pytest.raises(Disconnected):
            await paying
        await until(lambda: chat.connection == "open")
    assert len(server.frames) == 1


async def test_a_command_has_no_position_in_the_log() -> None:
    server = FakeServer()
    refuse(server, "never", times=0)
    async with server.chat() as chat:
        turn = chat.send("/help")
        assert await turn.text() == "done"
        assert await turn.accepted() is None


texts = st.text(st.sampled_from("/ping \n\tx")) | st.text()


@given(texts)
def test_client_and_server_agree_which_text_is_a_command(text: str) -> None:
    assert is_command(f.Send(id="x", content=text)) == (parse_command(text) is not None)


def test_only_command_frames_and_plain_text_are_commands() -> None:
    assert is_command(f.Command(id="x", name="help"))
    assert not is_command(f.Send(id="x", content=[m.TextPart("/help")]))
    assert not is_command(f.Cancel(id="x"))

"""The client against a real gateway on a real socket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import httpx2
import pytest
import trustme
from starlette.applications import Starlette

from agentws import AgentError, BearerKeys, Limits, MemoryStore, RunContext, mount_agent_gateway
from agentws.client import (
    Chat,
    Disconnected,
    LogEvent,
    Opening,
    Refused,
    RunCancelled,
    RunFailed,
    Transport,
    Update,
    connect,
)
from agentws.client.websocket import open_websocket
from agentws.errors import BadRequest, Forbidden, Unauthenticated, UnknownCommand
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.server import server_config

from .fakes import FAST, types
from .serving import enter, give_up, listening, plain, unused_address


async def agent(ctx: RunContext) -> AsyncIterator[str]:
    match ctx.text.split():
        case ["fail"]:
            yield "half of it"
            raise AgentError("No more.")
        case ["forever"]:
            while True:
                yield "and "
                await asyncio.sleep(0.001)
        case words:
            for word in words:
                yield word + " "
                await asyncio.sleep(0.001)


def gateway(**options: Any) -> Starlette:
    app = Starlette()
    mount_agent_gateway(app, agent, **options)
    return app


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[str]:
    """The address of a gateway under stock uvicorn."""
    async with listening(plain(gateway(**options))) as address:
        yield f"ws://{address}/ws/chat"


@asynccontextmanager
async def serving_tls(authority: trustme.CA, folder: Path) -> AsyncIterator[str]:
    """The address of a gateway under the preset, with a certificate of that authority."""
    issued = authority.issue_cert("127.0.0.1")
    key, chain = folder / "key.pem", folder / "chain.pem"
    issued.private_key_pem.write_to_path(key)
    for part in issued.cert_chain_pems:
        part.write_to_path(chain, append=True)
    config = server_config(
        gateway(),
        log_config=None,
        ssl_keyfile=key,
        ssl_certfile=chain,
        timeout_graceful_shutdown=1,
    )
    async with listening(config) as address:
        yield f"wss://{address}/ws/chat"


async def test_a_chat_sends_messages_and_holds_the_conversation() -> None:
    async with serving() as url, connect(url) as chat:
        events = [event async for event in chat.send("one two three")]
        assert types(events)[0] == "RUN_STARTED" and types(events)[-1] == "RUN_FINISHED"
        said = [event.delta for event in events if isinstance(event, e.TextMessageContent)]
        assert "".join(said) == "one two three "
        assert await chat.ask("four") == "four "
        assert [m.text_of(message.content) for message in chat.messages] == [  # type: ignore[arg-type]
            "one two three",
            "one two three ",
            "four",
            "four ",
        ]


async def test_another_chat_continues_a_session() -> None:
    async with serving() as url:
        async with connect(url) as chat:
            await chat.ask("hi", id="a-message-of-mine")
            session, position = chat.session, chat.position
        async with connect(url, session=session) as again:
            assert len(again.messages) == 2
            assert await again.ask("hi", id="a-message-of-mine") == "hi "
        async with connect(url, session=session, after=position) as later:
            assert later.messages == [] and later.position == position


async def test_a_snapshot_brings_the_notices_that_were_pushed_before() -> None:
    key = {"authorization": "Bearer key"}
    async with serving(admin_key="key") as url, connect(url) as chat:
        await chat.ask("hi")
        address = url.replace("ws:", "http:").removesuffix("/ws/chat")
        async with httpx2.AsyncClient(base_url=address, headers=key) as admin:
            path = f"/sessions/{chat.session}/push"
            (await admin.post(path, json={"content": "ready"})).raise_for_status()
        later = connect(url, session=chat.session)
        updates = later.watch()
        async with later:
            seen = [update async for update in log_events(updates, 2)]
            assert types([one.event for one in seen]) == ["MESSAGES_SNAPSHOT", "notice.posted"]
            assert seen[1].event == e.NoticePosted("ready", "info", timestamp=ANY)
            assert {one.position for one in seen} == {later.position}, "where to resume"


async def log_events(updates: AsyncIterator[Update], count: int) -> AsyncIterator[LogEvent]:
    async for update in updates:
        if isinstance(update, LogEvent):
            yield update
            count -= 1
            if count == 0:
                return


async def test_two_chats_of_a_session_see_the_same_log() -> None:
    async with serving() as url, connect(url) as one:
        async with connect(url, session=one.session) as two:
            first, second = one.watch(), two.watch()
            await one.ask("a b c")
            await two.ask("d e f")
            assert one.position is not None
            seen = [await log_of(updates, one.position) for updates in (first, second)]
            assert seen[0] == seen[1] != ""


async def log_of(updates: Any, until: str) -> str:
    """The text of the log up to a position, whatever deltas it is cut into."""
    text = ""
    async for update in updates:
        if isinstance(update, LogEvent):
            event = update.event
            text += event.delta if isinstance(event, e.TextMessageContent) else types([event])[0]
            if update.position == until:
                break
    return text


async def test_a_turn_can_be_stopped_fail_or_be_a_command() -> None:
    async with serving() as url, connect(url) as chat:
        turn = chat.send("forever")
        async for event in turn:
            if isinstance(event, e.TextMessageContent):
                break
        await turn.cancel()
        with pytest.raises(RunCancelled) as stopped:
            await turn.text()
        assert stopped.value.text.startswith("and ")
        with pytest.raises(RunFailed, match="No more") as failed:
            await chat.ask("fail")
        assert (failed.value.text, failed.value.server_code) == ("half of it", "agent_error")
        assert "/clear" in await chat.command("help")
        assert await chat.ask("ping") == "pong"
        assert "cleared" in await chat.ask("/clear")
        with pytest.raises(UnknownCommand, match="/help"):
            await chat.command("hlep")
        assert await chat.ask("//not a command") == "/not a command "


async def test_a_queued_message_can_be_withdrawn() -> None:
    async with serving() as url, connect(url) as chat:
        running, queued = chat.send("forever"), chat.send("later")
        await queued.accepted()
        await queued.cancel()
        # Until its run has begun, the first one would be withdrawn too.
        await anext(running)
        await chat.cancel()
        with pytest.raises(RunCancelled):
            await running.text()
        assert queued.over


async def test_a_refused_connection_raises_the_reason() -> None:
    keys = BearerKeys({"right": "ann", "other": "bob"})
    async with serving(authenticate=keys) as url:
        for token in (None, "wrong"):
            with pytest.raises(Unauthenticated):
                await enter(connect(url, token=token))
        async with connect(url, token="right") as chat:
            assert chat.welcome is not None and chat.welcome.identity == "ann"
            await chat.ask("hi")
            with pytest.raises(Forbidden):
                await enter(connect(url, token="other", session=chat.session))
        with pytest.raises(Forbidden, match="path"):
            await enter(connect(url.replace("/ws/chat", "/nowhere"), token="right"))
        with pytest.raises(BadRequest, match="session"):
            await enter(connect(url, token="right", session="short"))


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://host/", "ws://", "ws://host:port/", "ws://h:0x/"]
)
async def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(BadRequest, match="address"):
        await enter(connect(url))


async def test_entering_raises_disconnected_when_no_server_listens() -> None:
    with unused_address() as address, pytest.raises(Disconnected):
        await give_up(connect(f"http://{address}/ws/chat"))


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_a_chat_works_over_tls_with_an_ssl_context(
    authority: trustme.CA, tmp_path: Path
) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with serving_tls(authority, tmp_path) as url:
        async with connect(url, ssl_context=context) as chat:
            assert await chat.ask("one two") == "one two "
        async with connect(url.replace("wss", "https"), ssl_context=context) as chat:
            assert await chat.ask("three") == "three "


async def test_tls_without_an_ssl_context_trusts_the_machines_authorities(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = tmp_path / "trusted.pem"
    authority.cert_pem.write_to_path(trusted)
    async with serving_tls(authority, tmp_path) as url:
        with pytest.raises(Refused, match="certificate verify failed"):
            await enter(connect(url))
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        async with connect(url) as chat:
            words = " ".join(str(number) for number in range(100))
            assert await chat.ask(words) == words + " "


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_server_is_not_followed(status: int) -> None:
    """That server would receive the token."""
    reached: list[str] = []

    async def elsewhere(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])

    async def redirecting(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        headers = [(b"location", there.encode()), (b"location", b"\xff")]
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b""})

    async with listening(plain(elsewhere)) as other, listening(plain(redirecting)) as here:
        there = f"ws://{other}/stolen"
        with pytest.raises(Refused, match=there) as refused:
            await enter(connect(f"ws://{here}/ws/chat", token="secret"))
    assert reached == ["/ws/chat"]
    assert not refused.value.retryable


class Fragile:
    """A transport that breaks after ``left`` messages."""

    def __init__(self, inner: Transport, left: int) -> None:
        self._inner, self._left = inner, left

    async def send(self, text: str) -> None:
        await self._inner.send(text)
        await self._spend()

    async def recv(self) -> str | bytes:
        message = await self._inner.recv()
        await self._spend()
        return message

    async def close(self) -> None:
        await self._inner.close()

    async def _spend(self) -> None:
        self._left -= 1
        if self._left == 0:
            await self._inner.close()


@pytest.mark.parametrize("window", [600.0, 0.0])
@pytest.mark.parametrize("life", [2, 3, 4, 5, 7])
async def test_ten_messages_are_answered_over_connections_that_soon_break(
    life: int, window: float
) -> None:
    """With a replay window of zero, a run is compacted as soon as it ends."""
    limits = Limits(replay_window=window, message_rate=1e6, message_burst=10**6)
    async with serving(limits=limits, store=MemoryStore()) as url:

        async def open_fragile(opening: Opening) -> Transport:
            return Fragile(await open_websocket(url, opening), life)

        async with Chat(open_fragile, timing=FAST) as chat, asyncio.timeout(30):
            texts = [f"message {number} of ten" for number in range(10)]
            turns = [chat.send(text) for text in texts]
            assert [await turn.text() for turn in turns] == [text + " " for text in texts]
        async with connect(url, session=chat.session) as after:
            said = [message.content for message in after.messages]
            assert said == [part for text in texts for part in (text, text + " ")]

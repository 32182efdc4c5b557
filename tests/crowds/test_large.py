"""An answer of 8 MB: slow consumers that never read, and clients with default size limits."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect as websocket

from agentws.client import connect
from agentws.protocol.sizes import EVENT

from .served import Peer, Speaking
from .speaking import LARGE

VIEWERS = 100
EACH = 512 * 1024
SESSION = "a-session-that-is-large"
WAYS = ["ws", "missed", "opened", "events"]


@contextmanager
def never_reading(server: Speaking, way: str, position: str) -> Iterator[None]:
    """A hundred clients of the session that read only the handshake."""
    query = f"session={SESSION}" + (f"&after={position}" if way == "missed" else "")
    events = f"/sessions/{SESSION}/events?after={position}"
    path = events if way == "events" else f"/ws/chat?{query}"
    peers = [Peer(server, path=path, buffer=4096) for _ in range(VIEWERS)]
    try:
        yield
    finally:
        for peer in peers:
            peer.close()


async def answered(server: Speaking) -> str:
    """Makes the agent answer 8 MB in the session; returns the position before the answer."""
    async with connect(server.chat, session=SESSION) as chat:
        await chat.ask("Hello")
        position = str(chat.position)
        assert await chat.ask("large") == LARGE
    return position


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["preset", "stock"])
@pytest.mark.parametrize("way", WAYS)
async def test_viewers_that_never_read_cost_little_memory(
    tmp_path: Path, kind: str, way: str
) -> None:
    with Speaking(tmp_path, kind) as server:
        position = await answered(server)
        await answered(server)
        before = highest = server.resident()
        with never_reading(server, way, position):
            if way == "ws":
                await answered(server)
            end = time.monotonic() + 4.0
            while time.monotonic() < end:
                await asyncio.sleep(0.05)
                highest = max(highest, server.resident())
        assert highest - before < VIEWERS * EACH, (highest - before) / VIEWERS


@pytest.fixture(scope="module", params=["preset", "stock"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server with an answer of 8 MB in its session, and the position before the answer."""
    with Speaking(tmp_path_factory.mktemp(request.param), request.param) as server:
        yield server, asyncio.run(answered(server))


@pytest.mark.timeout(60)
async def test_a_large_session_opens_with_a_librarys_default_message_limit(large: Any) -> None:
    """``websockets`` closes the connection with 1009 at a message over 1 MiB."""
    server, _ = large
    async with websocket(f"{server.chat}?session={SESSION}", subprotocols=["agentws.v1"]) as ws:  # type: ignore[list-item]
        snapshot = await event(ws, "MESSAGES_SNAPSHOT")
        (message,) = snapshot["messages"]
        shown, before = message["content"], snapshot["metadata"]["agentws"]["before"]
    url = f"http://{server.host}/sessions/{SESSION}/messages"
    async with httpx2.AsyncClient() as http:
        while not LARGE.startswith(shown):
            page = await http.get(url, params={"before": before})
            assert len(page.content) <= EVENT
            part = next(one for one in page.json()["messages"] if one["id"] == message["id"])
            shown, before = part["content"] + shown, page.json().get("before")
    assert shown == LARGE


@pytest.mark.timeout(60)
async def test_a_large_replay_fits_a_librarys_default_message_limit(large: Any) -> None:
    server, position = large
    url = f"{server.chat}?session={SESSION}&after={position}"
    texts: list[str] = []
    async with websocket(url, subprotocols=["agentws.v1"]) as ws:  # type: ignore[list-item]
        while True:
            data = await ws.recv()
            assert len(data.encode() if isinstance(data, str) else data) <= EVENT
            message = json.loads(data)
            events = [one.get("event", {}) for one in as_list(message)]
            texts += [one["delta"] for one in events if one.get("type") == "TEXT_MESSAGE_CONTENT"]
            if any(one.get("type") == "RUN_FINISHED" for one in events):
                break
    assert "".join(texts) == LARGE


@pytest.mark.timeout(60)
async def test_a_large_live_answer_fits_the_default_limit_on_the_simple_wire(large: Any) -> None:
    server, _ = large
    async with websocket(server.chat) as ws:
        await ws.send("large")
        texts: list[str] = []
        while True:
            frame = json.loads(await ws.recv())
            texts.append(frame["content"])
            if not frame["metadata"].get("more"):
                break
    assert "".join(texts) == LARGE


@pytest.mark.timeout(60)
async def test_polls_and_sse_streams_deliver_a_large_answer_in_bounded_pieces(large: Any) -> None:
    server, position = large
    url, texts = f"http://{server.host}/sessions/{SESSION}/events", []
    async with httpx2.AsyncClient() as http:
        poll: dict[str, Any] = {"position": position, "more": True}
        while poll.get("more"):
            answer = await http.get(
                url, params={"after": poll["position"]}, headers={"accept": "application/json"}
            )
            assert len(answer.content) <= EVENT + 4096
            poll = answer.json()
            events = [one["event"] for one in poll["events"]]
            texts += [one["delta"] for one in events if one["type"] == "TEXT_MESSAGE_CONTENT"]
        assert "".join(texts) == LARGE
        streamed: list[str] = []
        async with http.stream("GET", url, params={"after": position}) as stream:
            async for line in stream.aiter_lines():
                assert len(line.encode()) <= EVENT
                if not line.startswith('data: {"id"'):
                    continue
                said = json.loads(line.removeprefix("data: "))["event"]
                streamed += [said["delta"]] if said["type"] == "TEXT_MESSAGE_CONTENT" else []
                if said["type"] == "RUN_FINISHED":
                    break
        assert "".join(streamed) == LARGE


async def event(ws: Any, type: str) -> dict[str, Any]:
    while True:
        data = await ws.recv()
        assert len(data.encode()) <= EVENT
        for frame in as_list(json.loads(data)):
            if frame.get("event", {}).get("type") == type:
                found: dict[str, Any] = frame["event"]
                return found


def as_list(message: Any) -> list[dict[str, Any]]:
    return message if isinstance(message, list) else [message]

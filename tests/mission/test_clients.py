"""Existing simple clients (scripts, curl, UI components) against a real server."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

ADMIN = {"Authorization": "Bearer the-admin-key"}


async def ask(websocket: ClientConnection, text: str) -> dict[str, Any]:
    await websocket.send(text)
    return await receive(websocket)


async def receive(websocket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        frame: dict[str, Any] = json.loads(await websocket.recv())
    assert isinstance(frame["content"], str) and frame["content"]
    return frame


def call(
    base: str, method: str, path: str, *, headers: dict[str, str] | None = None, body: Any = None
) -> tuple[int, Any]:
    """One request as curl sends it; returns the status, and the JSON or text of the response."""
    connection = http.client.HTTPConnection(base, timeout=10)
    try:
        data = None if body is None else json.dumps(body)
        sent = {**({} if body is None else {"Content-Type": "application/json"}), **(headers or {})}
        connection.request(method, path, body=data, headers=sent)
        response = connection.getresponse()
        text = response.read().decode()
        is_json = (response.getheader("content-type") or "").startswith("application/json")
        return response.status, json.loads(text) if is_json else text
    finally:
        connection.close()


async def test_a_script_can_send_plain_text_over_a_websocket(base: str) -> None:
    async with connect(f"ws://{base}/ws/chat") as websocket:
        await websocket.send("Hello from Python")
        data = json.loads(await websocket.recv())
        assert (data["type"], data["content"]) == ("text", "Hello from Python ")


async def test_a_ui_that_renders_every_message_shows_only_answers(base: str) -> None:
    """Each question gets exactly one message, and its content is the answer."""
    async with connect(f"ws://{base}/ws/chat") as websocket:
        shown = [(await ask(websocket, f"message {number}"))["content"] for number in range(5)]
        assert shown == [f"message {number} " for number in range(5)]


async def test_plain_text_and_json_messages_get_the_same_answer(base: str) -> None:
    sent = {"type": "text", "content": "Hello, how are you?", "metadata": {}}
    async with connect(f"ws://{base}/ws/chat") as websocket:
        plain = await ask(websocket, "Hello, how are you?")
        as_json = await ask(websocket, json.dumps(sent | {"timestamp": "2025-11-02T10:30:00"}))
        assert plain["content"] == as_json["content"] == "Hello, how are you? "
        assert {"type", "content", "metadata", "timestamp"} <= plain.keys()


async def test_the_built_in_commands_answer_on_the_simple_wire(base: str) -> None:
    async with connect(f"ws://{base}/ws/chat") as websocket:
        assert (await ask(websocket, "ping"))["content"] == "pong"
        await ask(websocket, "Hello")
        for name in ("history", "clear", "whoami"):
            assert f"/{name}" in (await ask(websocket, "/help"))["content"]
        assert "Hello" in (await ask(websocket, "/history"))["content"]
        who = await ask(websocket, "/whoami")
        assert who["metadata"]["session_id"] in who["content"]
        await ask(websocket, "/clear")
        assert "Hello" not in (await ask(websocket, "/history"))["content"]


async def test_a_simple_client_can_resume_its_session(base: str) -> None:
    async with connect(f"ws://{base}/ws/chat") as websocket:
        first = await ask(websocket, "one")
    where = first["metadata"]
    url = f"ws://{base}/ws/chat?session={where['session_id']}&after={where['position']}"
    async with connect(url) as websocket:
        assert (await ask(websocket, "two"))["content"] == "two "
        history = (await ask(websocket, "/history"))["content"]
        assert "one" in history and "two" in history


async def test_a_page_of_the_same_origin_can_connect(base: str) -> None:
    async with connect(f"ws://{base}/ws/chat", origin=f"http://{base}") as websocket:  # type: ignore[arg-type]
        assert (await ask(websocket, "Hello"))["content"] == "Hello "


def test_health_and_stats_are_served(base: str) -> None:
    assert call(base, "GET", "/health")[0] == 200
    status, stats = call(base, "GET", "/stats")
    assert status == 200
    assert {"active_sessions", "total_connections"} <= stats.keys()
    assert all(isinstance(stats[name], int) for name in ("active_sessions", "total_connections"))


async def wait_for_counts(base: str, *, sessions: int, connections: int) -> None:
    """Waits for these counts: connections of earlier tests may take a moment to close."""
    wanted = {"active_sessions": sessions, "total_connections": connections}
    async with asyncio.timeout(10):
        while True:
            stats = (await asyncio.to_thread(call, base, "GET", "/stats"))[1]
            if wanted.items() <= stats.items():
                return
            await asyncio.sleep(0.05)


async def test_stats_count_connections(base: str) -> None:
    await wait_for_counts(base, sessions=0, connections=0)
    url = f"ws://{base}/ws/chat"
    async with connect(url) as one, connect(url) as two:
        session = (await ask(one, "/whoami"))["metadata"]["session_id"]
        await ask(two, "ping")
        await wait_for_counts(base, sessions=2, connections=2)
        async with connect(f"{url}?session={session}") as again:
            await ask(again, "ping")
            await wait_for_counts(base, sessions=2, connections=3)
    await wait_for_counts(base, sessions=0, connections=0)


def test_the_chat_page_is_served(base: str) -> None:
    status, text = call(base, "GET", "/")
    assert status == 200
    assert "<html" in text


async def test_a_broadcast_reaches_every_connection(base: str) -> None:
    async with connect(f"ws://{base}/ws/chat") as one, connect(f"ws://{base}/ws/chat") as two:
        for websocket in (one, two):
            await ask(websocket, "ping")
        content = {"content": "Maintenance at 22:00"}
        status, _ = await asyncio.to_thread(
            call, base, "POST", "/broadcast", headers=ADMIN, body=content
        )
        assert status == 200
        for websocket in (one, two):
            notice = await receive(websocket)
            assert (notice["type"], notice["content"]) == ("notice", "Maintenance at 22:00")


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"X-API-Key": ""}, {"X-API-Key": "the-admin-keyx"}],
    ids=["none", "wrong", "empty", "longer"],
)
def test_a_broadcast_without_the_admin_key_is_refused(base: str, headers: dict[str, str]) -> None:
    status, error = call(base, "POST", "/broadcast", headers=headers, body={"content": "x"})
    assert status in (401, 403)
    assert error["code"] in ("unauthenticated", "forbidden")


def test_the_admin_key_may_be_in_the_x_api_key_header(base: str) -> None:
    key = {"X-API-Key": "the-admin-key"}
    assert call(base, "POST", "/broadcast", headers=key, body={"content": "x"})[0] == 200


def test_a_broadcast_with_an_invalid_body_is_refused(base: str) -> None:
    bodies: list[Any] = [{}, {"content": 5}, [], "x"]
    for body in bodies:
        status, error = call(base, "POST", "/broadcast", headers=ADMIN, body=body)
        assert (status, error["code"]) == (400, "bad_request")

"""Two worker processes on one SQLite file, with no bus between them but the store's own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from agentws import AgentGateway, SQLiteStore
from agentws.gateway import counting
from tests.buses.two_workers import frames_until, two_workers, viewer
from tests.buses.worker import PIECES

NEVER = 3600.0
"""Seconds between two polls: what arrives was rung for."""


async def test_a_viewer_on_another_worker_sees_each_piece_at_once(tmp_path: Path) -> None:
    """Each is written when the one before it was seen on both workers."""
    with (
        (tmp_path / "seen").open("wb", buffering=0) as seen,
        two_workers(tmp_path, poll=NEVER) as workers,
    ):
        one, other = map(viewer, workers)
        async with one as near, other as far, asyncio.timeout(30):
            await ask_in_step(near, far)
            for number in range(PIECES):
                for websocket in (near, far):
                    *_, (_, frame) = await frames_until(websocket, "TEXT_MESSAGE_CONTENT")
                    assert frame["event"]["delta"] == f"{number} "
                seen.write(b".")
            for websocket in (near, far):
                await frames_until(websocket, "RUN_FINISHED")


async def test_a_stop_sent_to_another_worker_takes_effect_at_once(tmp_path: Path) -> None:
    """The answer would never end, and its next piece is never written."""
    (tmp_path / "seen").touch()
    with two_workers(tmp_path, poll=NEVER) as workers:
        one, other = map(viewer, workers)
        async with one as near, other as far, asyncio.timeout(30):
            await ask_in_step(near, far)
            await frames_until(far, "TEXT_MESSAGE_CONTENT")
            await far.send(json.dumps({"type": "cancel", "id": "x1"}))
            for websocket in (near, far):
                *_, (_, frame) = await frames_until(websocket, "RUN_FINISHED")
                assert frame["event"]["outcome"] == {"type": "cancelled"}


async def ask_in_step(near: ClientConnection, far: ClientConnection) -> None:
    for websocket in (near, far):
        await frames_until(websocket, "welcome")
    await near.send(json.dumps({"type": "send", "id": "m1", "content": "in step"}))


async def test_a_broadcast_reaches_the_clients_of_every_worker(tmp_path: Path) -> None:
    content = "x" * 50_000
    with two_workers(tmp_path) as (one, other):
        async with viewer(one) as near, viewer(other) as far:
            for websocket in (near, far):
                await frames_until(websocket, "welcome")
            await asyncio.to_thread(one.broadcast, content, key="the-key")
            for websocket in (near, far):
                async with asyncio.timeout(10):
                    *_, (_, notice) = await frames_until(websocket, "notice")
                assert notice["content"] == content


async def test_a_process_that_mounts_nothing_reaches_the_clients_of_every_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe = json.dumps({"type": "subscribe", "id": "s", "topic": "news"})
    with two_workers(tmp_path) as (one, other):
        writer = AgentGateway(None, store=SQLiteStore(tmp_path / "chat.sqlite3"))
        async with viewer(one) as near, viewer(other) as far, asyncio.timeout(50):
            for websocket in (near, far):
                await websocket.send(subscribe)
                await frames_until(websocket, "subscribed")
            position = await writer.topic("news").post("posted", key="k1")
            assert await writer.topic("news").post("posted", key="k1") == position
            # The workers connect to a new process a moment later: an answer before that is lost.
            while await writer.topic("news").notify("shown") != 2:
                pass
            # And a worker that gets no core for a second is counted.
            monkeypatch.setattr(counting, "LONGEST", 20.0)
            assert await writer.broadcast("to everybody") == 2
            for websocket in (near, far):
                found: dict[str, Any] = {}
                while len(found) < 3:
                    message = json.loads(await websocket.recv())
                    for frame in message if isinstance(message, list) else [message]:
                        found[frame.get("content") or frame["event"]["content"]] = frame
                assert found["posted"]["id"] == position
                assert found["shown"]["topic"] == found["posted"]["topic"] == "news"
                assert "topic" not in found["to everybody"]
        await writer.stop()

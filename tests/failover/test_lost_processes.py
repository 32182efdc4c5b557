"""A worker process that is killed, or suspended and resumed, while it writes an answer."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from agentws import SQLiteStore
from agentws.protocol.fold import Fold
from agentws.testing.laws import violations
from agentws.testing.oracle import check_client, check_log, read_log
from tests.processes import Server, suspend

HERE = Path(__file__).parent
SESSION = "a-session-of-a-lost-process"


def worker(folder: Path, name: str) -> Server:
    database = str(folder / "chat.sqlite3")
    return Server("worker.py", database, "{port}", folder=HERE, output_file=folder / name)


def open_client(server: Server, *, after: str | None = None) -> connect:
    position = "" if after is None else f"&after={after}"
    url = f"ws://{server.host}/ws/chat?session={SESSION}{position}"
    return connect(url, subprotocols=[Subprotocol("agentws.v1")])


async def read_until(
    websocket: ClientConnection, frames: list[dict[str, Any]], last: str
) -> dict[str, Any]:
    """Adds frames up to that event, and returns it."""
    async with asyncio.timeout(30):
        while True:
            message = json.loads(await websocket.recv())
            found: list[dict[str, Any]] = message if isinstance(message, list) else [message]
            frames += found
            for frame in found:
                if frame.get("event", {}).get("type") == last:
                    return frame


@pytest.mark.parametrize("how", ["killed", "suspended"])
async def test_another_process_attempts_the_answer_again(how: str, tmp_path: Path) -> None:
    frames: list[dict[str, Any]] = []
    with worker(tmp_path, "first") as first:
        async with open_client(first) as websocket:
            await websocket.send(json.dumps({"type": "send", "id": "m1", "content": "go"}))
            text = await read_until(websocket, frames, "TEXT_MESSAGE_CONTENT")
        with worker(tmp_path, "second") as second:
            if how == "killed":
                first.kill()
            else:
                suspend(first.process, tmp_path / "chat.sqlite3")
            async with open_client(second, after=text["id"]) as websocket:
                await read_until(websocket, frames, "RUN_FINISHED")
            if how == "suspended":
                # What it still writes must be refused.
                first.process.send_signal(signal.SIGCONT)
                assert first.stop() in (0, -signal.SIGTERM)
    store = SQLiteStore(tmp_path / "chat.sqlite3", synchronous="NORMAL")
    await store.open()
    epoch, records = await read_log(store, SESSION)
    await store.close()
    check_log(records, accepted=["m1"])
    assert not violations(records)
    check_client(epoch, records, frames, complete=True)
    said = Fold().apply_all(records).messages[-1]
    assert getattr(said, "content", None) == "attempt 2 done"

"""Killed server processes: no acknowledged message is lost, and every run ends once."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from agentws import SQLiteStore
from agentws.testing.connect import Frame, kind
from agentws.testing.oracle import check_client, check_log, read_log
from tests.processes import Server, suspend

from .conftest import service

SESSION = "a-session-that-survives"
NATIVE = Subprotocol("agentws.v1")


class Native:
    """A native client over a real socket; records its frames for the oracle."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.position: str | None = None
        self._unread: list[Frame] = []
        self._websocket: ClientConnection | None = None

    @asynccontextmanager
    async def at(self, running: Server) -> AsyncIterator[Native]:
        after = "" if self.position is None else f"&after={self.position}"
        url = f"ws://{running.host}/ws/chat?session={SESSION}{after}"
        self._unread.clear()
        async with connect(url, subprotocols=[NATIVE], close_timeout=0.5) as self._websocket:
            yield self

    async def send(self, **frame: Any) -> None:
        assert self._websocket is not None
        await self._websocket.send(json.dumps(frame))

    async def receive(self) -> Frame:
        assert self._websocket is not None
        if not self._unread:
            message = json.loads(await self._websocket.recv())
            self._unread += message if isinstance(message, list) else [message]
        frame = self._unread.pop(0)
        self.frames.append(frame)
        if "event" in frame:
            self.position = frame["id"]
        return frame

    async def until(self, wanted: str) -> Frame:
        async with asyncio.timeout(20):
            while kind(frame := await self.receive()) != wanted:
                pass
        return frame

    async def until_gone(self) -> int:
        """Reads until the connection closes; returns the close code, 1006 if there was none."""
        with pytest.raises(ConnectionClosed) as closed:
            await self.until("nothing that ever comes")
        return 1006 if closed.value.rcvd is None else closed.value.rcvd.code


def durable(path: Path) -> list[str]:
    return ["durable.py", str(path), "{port}"]


@contextmanager
def frozen(running: Server, path: Path) -> Iterator[None]:
    """Meanwhile it takes no lease: a message is run by the other node, which has accepted it."""
    suspend(running.process, path)
    try:
        yield
    finally:
        running.process.send_signal(signal.SIGCONT)


async def check(path: Path, client: Native, *, accepted: set[str]) -> list[str]:
    """Checks log and client with the oracle; returns the kinds of the log's events."""
    store = SQLiteStore(path)
    await store.open()
    try:
        epoch, records = await read_log(store, SESSION)
    finally:
        await store.close()
    check_log(records, accepted=accepted)
    check_client(epoch, records, client.frames, complete=True)
    return [kind(json.loads(record.data)) for record in records]


async def test_a_killed_and_restarted_server_ends_the_run_and_loses_no_message(
    tmp_path: Path,
) -> None:
    path, client = tmp_path / "log.db", Native()
    with service(durable(path)) as first:
        async with client.at(first):
            await client.send(type="send", id="m1", content="long")
            await client.until("TEXT_MESSAGE_CONTENT")
            first.kill()
            await client.until_gone()
    with service(durable(path)) as second:
        async with client.at(second):
            assert (await client.until("welcome"))["resume"] == "replay"
            assert (await client.until("RUN_ERROR"))["event"]["code"] == "interrupted"
            await client.send(type="send", id="m1", content="long")
            assert (await client.until("accepted"))["duplicate"] is True
            await client.send(type="send", id="m2", content="quick")
            await client.until("RUN_FINISHED")
        kinds = await check(path, client, accepted={"m1", "m2"})
    assert kinds.count("RUN_STARTED") == 2


async def test_an_approval_survives_a_killed_server(tmp_path: Path) -> None:
    path, client = tmp_path / "log.db", Native()
    with service(durable(path)) as first:
        async with client.at(first):
            await client.send(type="send", id="m1", content="pay")
            ended = await client.until("RUN_FINISHED")
            (asked,) = ended["event"]["outcome"]["interrupts"]
            first.kill()
            await client.until_gone()
    with service(durable(path)) as second:
        async with client.at(second):
            payload = {"approved": True}
            await client.send(type="answer", id="a1", interrupt=asked["id"], payload=payload)
            result = (await client.until("TOOL_CALL_RESULT"))["event"]
            assert (result["toolCallId"], result["content"]) == (asked["toolCallId"], "paid 5")
            await client.until("RUN_FINISHED")
        kinds = await check(path, client, accepted={"m1"})
    assert kinds.count("TOOL_CALL_START") == 1


async def test_another_node_takes_over_the_session_of_a_killed_node(tmp_path: Path) -> None:
    path, client = tmp_path / "log.db", Native()
    with service(durable(path)) as first, service(durable(path)) as second:
        async with client.at(first):
            with frozen(second, path):
                await client.send(type="send", id="m1", content="long")
                await client.until("TEXT_MESSAGE_CONTENT")
            await client.send(type="send", id="m2", content="quick")
            await client.until("accepted")
            first.kill()
            await client.until_gone()
        async with client.at(second):
            assert (await client.until("RUN_ERROR"))["event"]["code"] == "interrupted"
            await client.until("RUN_FINISHED")
        await check(path, client, accepted={"m1", "m2"})


async def test_a_node_resumed_after_its_lease_expired_is_fenced_off(tmp_path: Path) -> None:
    path, client = tmp_path / "log.db", Native()
    with service(durable(path)) as first, service(durable(path)) as second:
        async with client.at(first):
            with frozen(second, path):
                await client.send(type="send", id="m1", content="long")
                await client.until("TEXT_MESSAGE_CONTENT")
            suspend(first.process, path)
        async with client.at(second):
            assert (await client.until("RUN_ERROR"))["event"]["code"] == "interrupted"
            first.process.send_signal(signal.SIGCONT)
            await client.send(type="send", id="m2", content="slow")
            await client.until("RUN_FINISHED")
        kinds = await check(path, client, accepted={"m1", "m2"})
    assert kinds.count("RUN_STARTED") == 2


async def test_a_client_survives_a_deploy_with_one_reconnect(tmp_path: Path) -> None:
    path, client = tmp_path / "log.db", Native()
    with service(durable(path)) as first, service(durable(path)) as second:
        async with client.at(first):
            with frozen(second, path):
                await client.send(type="send", id="m1", content="long")
                await client.until("TEXT_MESSAGE_CONTENT")
            first.process.terminate()
            assert await client.until_gone() == 1012
        async with client.at(second):
            assert (await client.until("welcome"))["resume"] == "replay"
            await client.send(type="send", id="m2", content="quick")
            await client.until("RUN_FINISHED")
        await check(path, client, accepted={"m1", "m2"})

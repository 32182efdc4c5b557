"""A rolling restart of three processes over one file, while clients talk."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agentws.backends.sqlite import SQLiteStore
from agentws.client import Chat, ConnectionChange
from agentws.client.transport import Opening, Transport
from agentws.client.websocket import open_websocket
from agentws.testing.oracle import check_client, check_log, read_log
from tests import processes

from .balancer import balancing

HERE = Path(__file__).parent
NODES = 3
CHATTERS = 9
PAUSE = 0.1
"""Seconds between an answer and the next message of a client."""
NOTICED = 3.0
"""Seconds that a client may wait until it tries again: one short reconnect."""
BUSY = 15.0
"""Seconds for which it may be without a connection in all, on a busy machine."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Recording:
    """A transport that records the frames that a client reads."""

    def __init__(self, transport: Transport, frames: list[Any]) -> None:
        self._transport = transport
        self._frames = frames

    async def send(self, text: str, /) -> None:
        await self._transport.send(text)

    async def recv(self) -> str | bytes:
        message = await self._transport.recv()
        decoded = msgspec.json.decode(message)
        self._frames += decoded if isinstance(decoded, list) else [decoded]
        return message

    async def close(self) -> None:
        await self._transport.close()


class Chatter:
    """One user, who sends the next message when the answer to the last one is there."""

    def __init__(self, number: int, url: str) -> None:
        self.number = number
        self.frames: list[Any] = []
        self.asked: list[str] = []
        self.without: list[float] = []
        """How long each reconnect took, in seconds."""
        self.waited: list[float] = []
        """How much of that the client chose to wait."""
        self.session = ""
        self._open = partial(open_websocket, url, proxy=None)

    async def _connect(self, opening: Opening) -> Transport:
        return Recording(await self._open(opening), self.frames)

    async def talk(self, until: asyncio.Event) -> None:
        chat = Chat(self._connect, connect_timeout=30)
        watching = asyncio.create_task(self._watch(chat.watch()))
        async with chat:
            while not until.is_set():
                said = f"{self.number} says {len(self.asked)} of many words at a time"
                self.asked.append(said)
                assert (await chat.ask(said)).split() == said.split()
                await asyncio.sleep(PAUSE)
            self.session = str(chat.session)
        await watching

    async def _watch(self, updates: AsyncIterator[Any]) -> None:
        lost: float | None = None
        waited = 0.0
        async for update in updates:
            match update:
                case ConnectionChange(state="reconnecting", delay=delay):
                    lost, waited = lost or time.monotonic(), waited + delay
                case ConnectionChange(state="open") if lost is not None:
                    self.without.append(time.monotonic() - lost)
                    self.waited.append(waited)
                    lost, waited = None, 0.0


@contextmanager
def running_nodes(folder: Path) -> Iterator[list[processes.Server]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                processes.Server(
                    "echo_service.py",
                    f"node-{number}",
                    str(folder / "log.db"),
                    "{port}",
                    folder=HERE,
                    output_file=folder / f"output-{number}.txt",
                )
            )
            for number in range(NODES)
        ]


def restart(node: processes.Server) -> float:
    """The seconds of the drain."""
    begun = time.monotonic()
    assert node.stop(signal.SIGTERM) == -signal.SIGTERM
    took = time.monotonic() - begun
    node.start()
    processes.wait_until(lambda: processes.is_healthy(f"http://{node.host}/readyz"))
    return took


async def test_every_client_resumes_over_a_rolling_restart(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        async with balancing([node.port for node in nodes]) as balancer:
            url = f"ws://127.0.0.1:{balancer.port}/ws/chat"
            chatters = [Chatter(number, url) for number in range(CHATTERS)]
            over = asyncio.Event()
            async with asyncio.TaskGroup() as talking:
                for chatter in chatters:
                    talking.create_task(chatter.talk(over))
                async with asyncio.timeout(30):
                    while not all(len(one.asked) > 2 for one in chatters):  # noqa: ASYNC110 - polled
                        await asyncio.sleep(PAUSE)
                drains = [await asyncio.to_thread(restart, node) for node in nodes]
                await asyncio.sleep(0.5)
                over.set()
        assert all("Traceback" not in node.output for node in nodes)
    print(f"drains: {drains}, without a connection: {[one.without for one in chatters]}")
    assert max(drains) <= 5.0 + 10.0
    for chatter in chatters:
        assert len(chatter.without) <= NODES
        assert max(chatter.waited, default=0.0) <= NOTICED
        assert max(chatter.without, default=0.0) <= BUSY
        await check(tmp_path / "log.db", chatter)
    assert sum(len(chatter.without) for chatter in chatters) >= CHATTERS


async def check(path: Path, chatter: Chatter) -> None:
    """Nothing was lost or doubled, and every resume was a replay."""
    store = SQLiteStore(path)
    await store.open()
    try:
        epoch, records = await read_log(store, chatter.session)
    finally:
        await store.close()
    check_log(records)
    check_client(epoch, records, chatter.frames)
    welcomes = [frame["resume"] for frame in chatter.frames if frame.get("type") == "welcome"]
    assert welcomes[0] == "new" and set(welcomes[1:]) <= {"replay"}
    events = [msgspec.json.decode(record.data)["event"] for record in records]
    accepted = [one["message"]["content"] for one in events if one["type"] == "message.accepted"]
    assert accepted == chatter.asked
    assert sum(one["type"] == "RUN_FINISHED" for one in events) == len(chatter.asked)
    assert not any(one["type"] == "RUN_ERROR" for one in events)

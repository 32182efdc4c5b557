"""The clients of a soak: they come and go, send and resend, stop answers, and lose connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from websockets.exceptions import InvalidHandshake, WebSocketException

from agentws.client import Chat, Opening, Transport, Turn
from agentws.client.websocket import open_websocket
from agentws.testing.history import ClientHistory, recording
from tests.cluster.clients import FAST, Native
from tests.cluster.strangers import Stranger

from .schedule import NODES
from .world import World

TEXTS: Final = ("hello", "hello", "count 5", "count 20", "count 40", "think 0.5", "big 30")
PAUSES: Final = (0.02, 0.5)
"""Seconds between two actions of a client."""
STAYS: Final = (0.1, 4.0)
"""Seconds that a client keeps a connection."""
AGENTS: Final = ("scripted", "scripted", "persistent")
"""The last one runs again when its node was lost."""
UNSENT: Final = 4
"""Messages of one client without an acknowledgement, at most: more than the queue is refused."""
GONE: Final = (OSError, TimeoutError, WebSocketException, InvalidHandshake)


class Person(Protocol):
    """A client of one session."""

    history: ClientHistory

    async def act(self) -> None:
        """Uses the session, whatever happens to its connections, until it is cancelled."""

    async def deliver(self) -> None:
        """Resends what was not acknowledged. Called when everything works again."""

    async def read_to(self, head: str) -> None:
        """Reads up to the head of the log."""


class Wanderer:
    """A native client that goes from node to node, and resends more than it has to."""

    def __init__(self, world: World, session: str, name: str, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self._client = Native(session, name)
        self._sends: dict[str, dict[str, str]] = {}
        self.history = self._client.history

    async def act(self) -> None:
        while True:
            try:
                async with asyncio.timeout(10):
                    await self._visit(self._chance.uniform(*STAYS))
            except* GONE:
                await asyncio.sleep(self._chance.uniform(*PAUSES))

    async def _visit(self, seconds: float) -> None:
        """One connection, to any node."""
        host = self._world.fronts[self._chance.choice(NODES)].host
        async with self._client.at(host), asyncio.TaskGroup() as group:
            reading = group.create_task(self._read())
            end = asyncio.get_running_loop().time() + seconds
            while asyncio.get_running_loop().time() < end:
                await asyncio.sleep(self._chance.uniform(*PAUSES))
                await self._do_something()
            reading.cancel()

    async def _read(self) -> None:
        while True:
            await self._client.receive()

    async def _do_something(self) -> None:
        action = self._chance.random()
        if action < 0.25 and len(self._unacknowledged) < UNSENT:
            id = f"{self.history.name}-{len(self._sends)}"
            text, agent = self._chance.choice(TEXTS), self._chance.choice(AGENTS)
            self._sends[id] = {"id": id, "content": text, "agent": agent}
            await self._client.send(type="send", **self._sends[id])
        elif action < 0.5 and self._sends:
            again = self._chance.choice(list(self._sends.values()))
            await self._client.send(type="send", **again)
        elif action < 0.65:
            await self._client.send(type="cancel", id=f"c{self._chance.random()}")

    @property
    def _unacknowledged(self) -> list[str]:
        known = self.history.acknowledged
        return [id for id in self._sends if id not in known]

    async def deliver(self) -> None:
        while waiting := self._unacknowledged:
            async with self._client.at(self._any_host()):
                for id in waiting:
                    await self._client.say(**self._sends[id])
            # A full queue refuses some of them for a while.
            await asyncio.sleep(PAUSES[1])

    async def read_to(self, head: str) -> None:
        while self._client.position != head:
            with suppress(*GONE):
                async with self._client.at(self._any_host()):
                    while self._client.position != head:
                        await self._client.receive()
            await asyncio.sleep(PAUSES[0])

    def _any_host(self) -> str:
        return self._chance.choice(self._world.cluster.nodes).host


class Resident:
    """The Python client, which reconnects and resends by itself, each time to any node.

    ``chat`` must be entered before it acts, and left after it has finished.
    """

    def __init__(self, world: World, session: str, name: str, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self._turns: list[Turn] = []
        self.history = ClientHistory(name)
        self.chat = Chat(recording(self._open, self.history), session=session, timing=FAST)

    async def _open(self, opening: Opening) -> Transport:
        url = self._world.url(self._chance.choice(NODES))
        return await open_websocket(url, opening, proxy=None)

    async def act(self) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(*PAUSES) * 3)
            if len(self._unanswered) < UNSENT:
                id = f"{self.history.name}-{len(self._turns)}"
                text, agent = self._chance.choice(TEXTS), self._chance.choice(AGENTS)
                self._turns.append(self.chat.send(text, id=id, agent=agent))

    @property
    def _unanswered(self) -> list[asyncio.Future[Any]]:
        return [turn.request.replied for turn in self._turns if not turn.request.replied.done()]

    async def deliver(self) -> None:
        if waiting := self._unanswered:
            await asyncio.wait(waiting)

    async def read_to(self, head: str) -> None:
        while self.chat.position != head:  # noqa: ASYNC110 - a chat tells nobody its position
            await asyncio.sleep(0.02)


class Prowler:
    """A stranger who tries the session at every node, once it belongs to somebody.

    ``owners`` are the clients of the session.
    """

    def __init__(
        self, world: World, session: str, owners: Sequence[Person], chance: random.Random
    ) -> None:
        self._world = world
        self._owners = owners
        self._chance = chance
        self._stranger = Stranger(session)
        self.history = self._stranger.history

    async def act(self) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(*PAUSES) * 3)
            if any(one.history.frames for one in self._owners):
                with suppress(*GONE):
                    async with asyncio.timeout(STAYS[1]):
                        await self._visit(self._chance.choice(NODES))

    async def _visit(self, node: str) -> None:
        await self._stranger.visit(self._world.cluster[node].host)

    async def visit_all(self) -> None:
        """Tries every node, when all of them answer."""
        for node in NODES:
            await self._visit(node)

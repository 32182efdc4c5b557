"""A gateway with small limits, and the steps that tests take with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from starlette.applications import Starlette

from agentws import AgentGateway, mount_agent_gateway
from agentws.backends.memory import MemoryStore
from agentws.protocol import messages as m
from agentws.protocol.codec import Record
from agentws.protocol.fold import Fold
from agentws.store import Store
from agentws.testing.connect import Client, Frame, connect, kind, running
from agentws.testing.oracle import TERMINAL, check_client, check_log, read_log
from tests.limits import limits


class Talk:
    """A gateway, one client of it, and its log."""

    def __init__(self, gateway: AgentGateway, client: Client, store: Store) -> None:
        self.gateway = gateway
        self.client = client
        self.store = store

    @property
    def session(self) -> str:
        assert self.client.session is not None
        return self.client.session

    async def log(self) -> list[Record]:
        return (await read_log(self.store, self.session))[1]

    async def kinds(self) -> list[str]:
        return [kind(msgspec.json.decode(record.data)) for record in await self.log()]

    async def terminal(self) -> Frame:
        return await self.client.until(lambda one: kind(one) in TERMINAL)

    async def ended(self, count: int) -> list[dict[str, Any]]:
        """Reads until ``count`` runs have ended; returns their terminal events."""
        while True:
            terminals = [one for one in self.client.events() if one["type"] in TERMINAL]
            if len(terminals) >= count:
                return terminals
            await self.client.until(lambda frame: kind(frame) in TERMINAL)

    async def check(self, *, complete: bool = True) -> Fold:
        """Checks the log and what the client saw; returns the fold of the log."""
        epoch, records = await read_log(self.store, self.session)
        check_log(records, accepted=accepted(self.client.frames))
        check_client(epoch, records, self.client.frames, complete=complete)
        return Fold().apply_all(records)

    async def texts(self) -> list[str | None]:
        """The texts of the assistant's messages."""
        fold = Fold().apply_all(await self.log())
        return [one.content for one in fold.messages if isinstance(one, m.AssistantMessage)]


def accepted(frames: list[Frame]) -> set[str]:
    """The accepted messages by the client's frames; their reply ids begin with an m."""
    replies = (frame.get("reply") for frame in frames if frame.get("type") == "accepted")
    return {reply for reply in replies if reply is not None and reply.startswith("m")}


@asynccontextmanager
async def talk(
    agent: Any, *, store: Store | None = None, url: str = "/ws/chat", **changes: Any
) -> AsyncIterator[Talk]:
    """A running gateway for ``agent``, and a client that has got its ``welcome``."""
    app, store = Starlette(), store or MemoryStore()
    ports = {name: changes.pop(name, None) for name in ("bus", "files")}
    gateway = mount_agent_gateway(app, agent, store=store, limits=limits(**changes), **ports)
    async with running(app), connect(app, url) as client:
        await client.until("welcome")
        yield Talk(gateway, client, store)

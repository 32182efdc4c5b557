"""Where the transport tests run: one gateway, or two on one store whose bus loses every ring; a
server that knows nothing but ASGI, or one that takes finished frames.

Every test passes in each, with clients that go from node to node: losing the bus costs latency
only.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.applications import Starlette

from agentws import AgentGateway, mount_agent_gateway
from agentws.backends.local import LocalBus
from agentws.backends.memory import MemoryStore
from agentws.bus import Bus
from agentws.limits import Limits
from agentws.protocol.codec import Record
from agentws.store import Store
from agentws.testing.connect import Client, running
from agentws.testing.faults import LossyBus
from agentws.testing.oracle import check_client, check_log, read_log
from tests.limits import limits


class World:
    """The gateways, their store, and the clients that a test has opened."""

    def __init__(
        self, apps: list[Any], gateways: list[AgentGateway], store: Store, *, direct: bool
    ) -> None:
        self.apps = apps
        self.gateways = gateways
        self.store = store
        self.clients: list[Client] = []
        self._direct = direct
        self._next = itertools.cycle(apps)

    @property
    def gateway(self) -> AgentGateway:
        return self.gateways[0]

    async def client(self, query: str = "", **options: Any) -> Client:
        """A client that is connected to the next node."""
        url = f"/ws/chat{'?' if query else ''}{query}"
        client = Client(next(self._next), url, direct=self._direct, **options)
        self.clients.append(client)
        return await client.open()

    async def join(self, other: Client, query: str = "", **options: Any) -> Client:
        """A client of the same session as ``other``, connected to the next node."""
        parts = [f"session={other.session}", *([query] if query else [])]
        return await self.client("&".join(parts), **options)

    async def back(self, client: Client) -> Client:
        """Reconnects a client to the next node."""
        return await client.reconnect(next(self._next))

    async def records(self, client: Client) -> tuple[str, list[Record]]:
        assert client.session is not None
        return await read_log(self.store, client.session)

    async def check(self, *clients: Client, complete: bool = True) -> None:
        """Asks the oracle about the log of these clients' session, and what they saw of it."""
        epoch, records = await self.records(clients[0])
        check_log(records)
        for client in clients:
            check_client(epoch, records, client.frames, complete=complete)


@asynccontextmanager
async def world(
    agent: Any, *, count: int, direct: bool = False, **options: Any
) -> AsyncIterator[World]:
    """``options`` are those of the mount, and limits."""
    changes = {
        name: options.pop(name) for name in tuple(options) if name in Limits.__struct_fields__
    }
    store = options.pop("store", None) or MemoryStore(
        monotonic=lambda: asyncio.get_running_loop().time()
    )
    bus: Bus = LocalBus() if count == 1 else LossyBus(LocalBus(), drop=1.0)
    apps: list[Any] = [Starlette() for _ in range(count)]
    gateways = [
        mount_agent_gateway(app, agent, store=store, bus=bus, limits=limits(**changes), **options)
        for app in apps
    ]
    async with AsyncExitStack() as stack:
        for app in apps:
            await stack.enter_async_context(running(app, within=200.0))
        made = World(apps, gateways, store, direct=direct)
        try:
            yield made
        finally:
            for client in made.clients:
                await client.aclose()

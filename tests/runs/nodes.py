"""Several gateways on one store, and what can happen to a node."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal, TypeVar

from starlette.applications import Starlette

from agentws import AgentGateway, mount_agent_gateway
from agentws.backends.local import LocalBus
from agentws.backends.memory import MemoryStore
from agentws.bus import Bus
from agentws.errors import Unavailable
from agentws.files import FileStore
from agentws.store import Store
from agentws.testing.connect import Client, connect, running
from agentws.testing.faults import LossyBus, WrappedStore
from tests.limits import limits

T = TypeVar("T")


class NodeStore(WrappedStore):
    """One node's connection to the store. It can be cut: then calls hang, or fail."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.state: Literal["up", "hung", "down"] = "up"
        self._changed = asyncio.Event()

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        while self.state == "hung":
            self._changed.clear()
            await self._changed.wait()
        if self.state == "down":
            raise Unavailable("this node is cut off")
        return await call()

    def set(self, state: Literal["up", "hung", "down"]) -> None:
        self.state = state
        self._changed.set()

    async def close(self) -> None:
        """Does nothing: the store is shared, and the test closes it."""


class Node:
    """One gateway of several, and the app that serves it."""

    def __init__(
        self, agent: Any, *, store: Store, bus: Bus, changes: dict[str, Any], files: Any = None
    ) -> None:
        self.store = NodeStore(store)
        self.app = Starlette()
        self.gateway: AgentGateway = mount_agent_gateway(
            self.app, agent, store=self.store, bus=bus, files=files, limits=limits(**changes)
        )

    def freeze(self) -> None:
        """Freezes the node, as a process that was stopped or died with open connections."""
        self.store.set("hung")

    def thaw(self) -> None:
        self.store.set("up")


def memory_store() -> MemoryStore:
    """Leases in it expire by the loop's clock, which may be virtual."""
    return MemoryStore(monotonic=lambda: asyncio.get_running_loop().time())


@asynccontextmanager
async def nodes(
    agent: Any,
    count: int = 2,
    *,
    store: Store | None = None,
    lossy: float | None = None,
    files: FileStore | None = None,
    **changes: Any,
) -> AsyncIterator[list[Node]]:
    """``count`` running nodes; ``lossy`` is the probability that the bus loses a message."""
    store = store or memory_store()
    local = LocalBus()
    bus: Bus = local if lossy is None else LossyBus(local, drop=lossy)
    made = [Node(agent, store=store, bus=bus, files=files, changes=changes) for _ in range(count)]
    async with AsyncExitStack() as stack:
        for node in made:
            await stack.enter_async_context(running(node.app, within=200.0))
        try:
            yield made
        finally:
            for node in made:
                if node.store.state != "up":
                    node.store.set("down")


@asynccontextmanager
async def client_of_each(first: Node, second: Node) -> AsyncIterator[tuple[Client, Client]]:
    """Two clients in one new session, each on a node of its own."""
    async with connect(first.app) as one:
        await one.until("welcome")
        async with connect(second.app, f"/ws/chat?session={one.session}") as other:
            await other.until("welcome")
            yield one, other


async def freeze_another(each: Sequence[Node], chance: random.Random) -> None:
    """Thaws all nodes, freezes one of them, and waits for some time."""
    for node in each:
        node.thaw()
    chance.choice(each).freeze()
    await asyncio.sleep(chance.choice([0.01, 0.5, 3.0]))

"""Two gateways over one PostgreSQL database, each with a store and a bus of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from agentws.backends.postgres import PostgresStore
from agentws.bus import Bus
from agentws.testing.connect import running
from tests.runs.nodes import Node

from .postgres_schemas import new_schema, opened


class PostgresNode(Node):
    """A gateway with its own connections to the database."""

    def __init__(self, agent: Any, store: PostgresStore, bus: Bus, changes: dict[str, Any]) -> None:
        super().__init__(agent, store=store, bus=bus, changes=changes)


@asynccontextmanager
async def two_gateways(
    url: str,
    agent: Any,
    *,
    bus: Callable[[PostgresStore], Bus] = PostgresStore.default_bus,
    **changes: Any,
) -> AsyncIterator[tuple[Node, Node, PostgresStore]]:
    """Two running gateways, and a third store over their database."""
    schema = new_schema()
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(url, schema)) for _ in range(3)]
        made = [PostgresNode(agent, store, bus(store), changes) for store in stores[:2]]
        for node in made:
            await stack.enter_async_context(running(node.app, within=60.0))
        try:
            yield made[0], made[1], stores[2]
        finally:
            for node in made:
                if node.store.state != "up":
                    node.store.set("down")

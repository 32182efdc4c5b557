"""Nodes that share a store and a bus, with topics that anybody but ``secret`` may follow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.applications import Starlette

from agentws import AgentGateway, Identity, LocalBus, MemoryStore, mount_agent_gateway
from agentws.testing.agents import Script
from agentws.testing.connect import running

KEY = "the-admin-key"
ADMIN = {"x-api-key": KEY}


def may_subscribe(identity: Identity | None, topic: str) -> bool:
    return topic != "secret"


@asynccontextmanager
async def nodes(
    count: int = 1, *, agent: Any = None, **options: Any
) -> AsyncIterator[list[AgentGateway]]:
    """Running gateways over one store, by default in memory."""
    options = {
        "store": MemoryStore(),
        "bus": LocalBus(),
        "may_subscribe": may_subscribe,
        "admin_key": KEY,
        **options,
    }
    async with AsyncExitStack() as stack:
        gateways = []
        for _ in range(count):
            gateway = mount_agent_gateway(Starlette(), agent or Script("fine"), **options)
            await stack.enter_async_context(running(gateway))
            gateways.append(gateway)
        yield gateways

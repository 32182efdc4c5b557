"""Presence in the Python client: one request, and changes that survive a reconnect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import mount_agent_gateway
from agentws.client import Chat, ChatClosed, Presence
from agentws.testing import open_transport, running
from agentws.testing.agents import Script
from tests.virtual import anyio_backend as anyio_backend

from .fakes import FAST

SESSION = "ses_of_several_people"


async def next_presence(updates: AsyncIterator[Any], connections: int) -> Presence:
    """The next one with so many connections."""
    async with asyncio.timeout(10):
        async for update in updates:
            if isinstance(update, Presence) and update.connections == connections:
                return update
    raise AssertionError


async def test_who_is_there_and_who_comes_and_goes() -> None:
    gateway = mount_agent_gateway(
        Starlette(),
        Script("fine"),
        authenticate=lambda connection: "ada",
        authorize=lambda *_: True,
    )
    opened: list[Any] = []

    async def open(opening: Any) -> Any:
        opened.append(await open_transport(gateway)(opening))
        return opened[-1]

    def chat() -> Chat:
        return Chat(open, session=SESSION, timing=FAST)

    async with running(gateway), chat() as one:
        updates = one.watch()
        found = await one.presence(watch=True)
        assert [(member.id, member.connections) for member in found.members] == [("ada", 1)]
        async with chat():
            await next_presence(updates, 2)
        await next_presence(updates, 1)
        # The next connection asks again by itself.
        opened[0].drop()
        await next_presence(updates, 1)
        async with chat():
            await next_presence(updates, 2)
        assert (await one.presence(watch=False)).connections >= 1
    with pytest.raises(ChatClosed):
        await one.presence()

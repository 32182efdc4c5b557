"""Handshakes take turns, and one that waits too long is refused."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from agentws import Limits
from agentws.errors import Unavailable
from agentws.tasks.tasks import Tasks
from agentws.transports import connections
from agentws.transports.connections import Connections


async def test_a_handshake_that_waits_too_long_is_refused_and_delays_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "OPENING", 2)
    monkeypatch.setattr(connections, "OPENING_PATIENCE", 0.05)
    node = Connections(Limits(), Tasks())
    async with AsyncExitStack() as first:
        for _ in range(2):
            await first.enter_async_context(node.opening())
        for _ in range(3):
            with pytest.raises(Unavailable, match="Too many clients connect at once") as refused:
                async with node.opening():
                    pass
            assert refused.value.retryable
    async with asyncio.timeout(5), node.opening(), node.opening():
        pass


async def test_a_handshake_has_its_turn_when_another_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "OPENING", 1)
    node = Connections(Limits(), Tasks())
    inside = asyncio.Event()

    async def waiting() -> None:
        async with node.opening():
            inside.set()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        async with node.opening():
            group.create_task(waiting())
            await asyncio.sleep(0)
            assert not inside.is_set()
        await inside.wait()

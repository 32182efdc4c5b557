"""The shared state in the Python client: it follows all changes, and makes its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import Agent, RunContext, StateChange, mount_agent_gateway
from agentws.client import Chat
from agentws.errors import Forbidden, StateConflict
from agentws.testing import open_transport, running
from tests.virtual import anyio_backend as anyio_backend

from .fakes import FAST, FakeServer, until


class Form(Agent):
    def accepts_state(self, change: StateChange) -> bool:
        return bool(change.after["name"] != "nobody")

    async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
        ctx.set_state({"name": ctx.text})
        async for state in ctx.state_changes():
            if state.get("done"):
                break
        yield f"Hello {state['name']}"


async def test_two_chats_and_the_agent_change_the_state() -> None:
    app = Starlette()
    mount_agent_gateway(app, Form)
    session = "ses_0123456789abcdef"
    async with running(app):
        async with (
            Chat(open_transport(app), session=session, timing=FAST) as one,
            Chat(open_transport(app), session=session, timing=FAST) as two,
        ):
            turn = one.send("Ada")
            await until(lambda: two.state == {"name": "Ada"})
            await two.patch_state([{"op": "replace", "path": "/name", "value": "Bob"}])
            await until(lambda: one.state == two.state == {"name": "Bob"})
            with pytest.raises(StateConflict, match="Operation 1 of the patch, test /name"):
                await one.patch_state([{"op": "test", "path": "/name", "value": "Ada"}])
            with pytest.raises(Forbidden):
                await one.set_state({"name": "nobody"})
            await one.set_state({"name": "Eve", "done": True})
            assert await turn.text() == "Hello Eve"
            await until(lambda: two.state == {"name": "Eve", "done": True})


async def test_a_change_is_sent_again_after_a_reconnect_under_the_same_id() -> None:
    server = FakeServer()
    server.reply = lambda frame: []
    async with server.chat() as chat:
        change = asyncio.create_task(chat.set_state(1))
        await until(lambda: len(server.sent("state")) == 1)
        server.reply = lambda frame: None
        server.transports[-1].drop()
        await change
        first, again = server.sent("state")
        assert first == again

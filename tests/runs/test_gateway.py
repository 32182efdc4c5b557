"""The API of the gateway for the code of the host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette

from agentws import Agent, AgentGateway, Limits, MemoryStore, RunContext, mount_agent_gateway
from agentws.agents.commands import Command, CommandContext
from agentws.errors import NotFound
from agentws.testing.connect import Client, running

from .harness import talk

LIMITS = Limits(cancel_grace=0.2, poll_interval=0.02, idle_poll_interval=0.02, lease_ttl=0.5)


async def test_a_gateway_without_agents_pushes_and_runs_nothing() -> None:
    store = MemoryStore()
    app = Starlette()
    mount_agent_gateway(app, _echo, store=store, limits=LIMITS)
    async with running(app):
        client = await Client(app).open()
        await client.say("hello", "m1")
        await client.until("RUN_FINISHED")
        assert client.session is not None
        # A queued message: a gateway without agents must not run it.
        worker = AgentGateway(None, store=store, limits=LIMITS)
        position = await worker.session(client.session).push("ready")
        assert worker.stats()["active_runs"] == 0
        await worker.stop()
        frame = await client.until("notice.posted")
        assert (frame["id"], frame["event"]["content"]) == (position, "ready")
        client.drop()


async def test_a_push_to_an_unknown_session_is_not_found() -> None:
    worker = AgentGateway(None, limits=LIMITS)
    with pytest.raises(NotFound):
        await worker.session("a-session-that-is-not-there").push("ready")
    await worker.stop()


async def test_deleting_a_session_stops_its_run() -> None:
    stopped = asyncio.Event()

    async def waiting(ctx: RunContext) -> AsyncIterator[str]:
        try:
            yield "one"
            await asyncio.Event().wait()
        finally:
            stopped.set()

    app = Starlette()
    gateway = mount_agent_gateway(app, waiting, limits=LIMITS)
    async with running(app):
        client = await Client(app).open()
        await client.say("go", "m1")
        await client.until("TEXT_MESSAGE_CONTENT")
        assert client.session is not None
        await gateway.delete(await gateway.sessions.find(client.session))
        await asyncio.wait_for(stopped.wait(), 5)
        await client.line.wait_closed()


async def _echo(ctx: RunContext) -> AsyncIterator[str]:
    yield ctx.text


async def test_a_command_can_read_the_whole_conversation() -> None:
    class Counting(Agent):
        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            yield "fine"

        def commands(self) -> list[Command]:
            async def count(context: CommandContext, args: str) -> str:
                whole, newest = await context.history(), await context.history(limit=2)
                return f"{len(whole)} {len(newest)}"

            return [Command("count", "Counts the messages", count)]

    async with talk(Counting, snapshot_messages=4) as one:
        for number in range(10):
            await one.client.say("go", f"m{number}")
            await one.client.answer()
        await one.client.send({"type": "command", "id": "c1", "name": "count"})
        notice = await one.client.until("notice")
        assert notice["content"] == "20 2"

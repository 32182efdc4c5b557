"""A client of a gateway with several agents: who answers, and a choice of it."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import RunContext, mount_agent_gateway
from agentws.client import Chat
from agentws.errors import BadRequest
from agentws.protocol.messages import AssistantMessage
from agentws.testing import open_transport, running
from tests.virtual import anyio_backend as anyio_backend


async def support(ctx: RunContext) -> Any:
    if ctx.text == "pay":
        await ctx.handoff("billing")
    yield await ctx.delegate("helper", "go") + ", says support"


async def billing(ctx: RunContext) -> Any:
    yield "billing"


async def helper(ctx: RunContext) -> Any:
    yield "helped"


def gateway() -> Starlette:
    app = Starlette()
    mount_agent_gateway(app, {"support": support, "billing": billing, "helper": helper})
    return app


async def test_a_client_sees_who_answers_and_switches() -> None:
    app = gateway()
    async with running(app), Chat(open_transport(app)) as chat:
        assert (chat.agent, chat.agents) == ("support", ["support", "billing", "helper"])
        # What the delegate has written is no part of the answer.
        assert await chat.ask("hello") == "helped, says support"
        await chat.switch_agent("billing")
        assert await chat.ask("hello") == "billing"
        assert chat.agent == "billing"
        assert await chat.ask("hello", agent="helper") == "helped"
        assert chat.agent == "billing"
        said = [one for one in chat.messages if isinstance(one, AssistantMessage)]
        assert [one.name for one in said] == ["helper", "support", "billing", "helper"]
        with pytest.raises(BadRequest, match="one of billing"):
            await chat.switch_agent("biling")


async def test_a_handoff_changes_the_agent_that_a_client_sees() -> None:
    app = gateway()
    async with running(app), Chat(open_transport(app)) as chat:
        assert await chat.ask("pay") == "billing"
        assert chat.agent == "billing"

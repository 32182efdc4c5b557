"""What a host's ``authenticate`` and ``authorize`` may return."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette

from agentws import RunContext, mount_agent_gateway
from agentws.backends.memory import MemoryStore
from agentws.testing.connect import connect, running
from tests.limits import limits

from .senders import Seen


@pytest.mark.parametrize("value", [42, "42"])
async def test_an_identity_can_be_a_number(value: Any) -> None:
    app, store = Starlette(), MemoryStore()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        assert ctx.identity is not None
        yield ctx.identity.id

    mount_agent_gateway(
        app, agent, store=store, limits=limits(), authenticate=lambda connection: value
    )
    async with running(app), connect(app) as client:
        await client.say("hi", "m1")
        assert await client.answer() == "42"
        assert (await store.info(str(client.session))).owner == "42"


@pytest.mark.parametrize("value", [{"sub": "ada"}, object(), True, b"ada", ["ada"]])
async def test_an_invalid_identity_is_logged_as_an_error(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = Starlette()
    mount_agent_gateway(
        app, Seen().__call__, limits=limits(), authenticate=lambda connection: value
    )
    async with running(app), connect(app) as client:
        bye = await client.until("bye")
        assert bye["code"] == 4500
    assert "authenticate returned" in caplog.text
    assert "expected an Identity, or its id as a str, an int or a UUID" in caplog.text


@pytest.mark.parametrize("answer", [None, 1, "yes", object()])
async def test_an_authorize_result_that_is_not_a_bool_is_logged_as_an_error(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = Starlette()
    mount_agent_gateway(
        app,
        Seen().__call__,
        limits=limits(),
        authorize=lambda identity, info, action: answer,
    )
    async with running(app), connect(app) as client:
        assert (await client.until("bye"))["code"] == 4403
    assert f"authorize returned {type(answer).__name__}; expected True or False" in caplog.text

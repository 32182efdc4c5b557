"""The Python client when the node of its answer is lost, and another attempt follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agentws import Agent, RunContext
from agentws.client import Chat, RunFailed
from agentws.protocol import events as e
from agentws.testing import open_transport
from tests.runs.nodes import nodes
from tests.virtual import anyio_backend as anyio_backend

SESSION = "a-session-whose-node-is-lost"


class Trying(Agent):
    attempts = 2

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield f"attempt {ctx.attempt} of {ctx.text}"
        if ctx.attempt == 1 and ctx.text != "warm up":
            await asyncio.sleep(1e6)


class Once(Trying):
    attempts = 1


async def test_a_turn_goes_on_with_the_next_attempt() -> None:
    async with nodes(Trying) as (first, second):
        async with Chat(open_transport(second.app), session=SESSION) as chat:
            async with Chat(open_transport(first.app), session=SESSION) as other:
                await other.send("warm up").text()
            turn = chat.send("go")
            kinds = []
            async with asyncio.timeout(60):
                async for event in turn:
                    kinds.append(event.__struct_config__.tag)
                    if kinds.count("TEXT_MESSAGE_CONTENT") == 1:
                        first.freeze()
                text = await turn.text()
            assert text == "attempt 2 of go"
            assert kinds.count("RUN_STARTED") == 2
            assert kinds[-1] == "RUN_FINISHED"
            shown = [str(getattr(one, "content", "")) for one in chat.messages]
            assert shown == ["warm up", "attempt 1 of warm up", "go", "attempt 2 of go"]


async def test_a_turn_ends_with_the_error_if_no_attempt_follows() -> None:
    async with nodes(Once) as (first, second):
        async with Chat(open_transport(second.app), session=SESSION) as chat:
            async with Chat(open_transport(first.app), session=SESSION) as other:
                await other.send("warm up").text()
            turn = chat.send("go")
            async with asyncio.timeout(60):
                async for event in turn:
                    if isinstance(event, e.TextMessageContent):
                        first.freeze()
                with pytest.raises(RunFailed) as failed:
                    await turn.text()
            assert failed.value.server_code == "interrupted"

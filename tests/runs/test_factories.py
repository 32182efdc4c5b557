"""Factories that make no agent, and agents that are not async generators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agentws.agents.run_context import RunContext
from agentws.testing.agents import Script
from agentws.testing.connect import Frame

from .harness import talk


def failing(error: BaseException) -> Callable[[], Any]:
    def factory() -> Any:
        raise error

    return factory


FACTORIES: dict[str, Any] = {
    "raises": failing(ValueError("secret-key-123")),
    "exits": failing(SystemExit(1)),
    "is interrupted": failing(KeyboardInterrupt()),
    "makes nothing": lambda: None,
    "makes text": lambda: "agent",
}


@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES.keys())
async def test_a_factory_that_makes_no_agent_ends_the_run_with_an_error(factory: Any) -> None:
    async with talk(factory) as one:
        for number in range(3):
            await one.client.say("go", f"m{number}")
            event = (await one.terminal())["event"]
            assert (event["type"], event["code"]) == ("RUN_ERROR", "agent_error")
            assert "secret" not in str(event)
        await one.check()


async def test_a_run_is_cancelled_while_its_factory_waits() -> None:
    async def factory() -> Any:
        await asyncio.sleep(1000)

    async with talk(factory) as one:
        await one.client.say("go", "m1")
        await one.client.until("message.accepted")
        await one.client.ask({"type": "cancel", "id": "c1"})
        await one.client.until(lambda frame: "RUN_FINISHED" in str(frame) or _withdrawn(frame))
        await one.check()


def _withdrawn(frame: Frame) -> bool:
    return bool("event" in frame and frame["event"]["type"] == "message.withdrawn")


async def test_a_run_method_that_is_not_an_async_generator_ends_the_run_with_an_error() -> None:
    class Plain(Script):
        def __call__(self) -> Any:
            agent = super().__call__()

            async def run(ctx: RunContext) -> str:
                return "text"

            agent.run = run  # type: ignore[method-assign,assignment]
            return agent

    async with talk(Plain()) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["code"] == "invalid_event"

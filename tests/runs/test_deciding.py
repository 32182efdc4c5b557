"""Commands with repeated version conflicts: decided again each time, and refused in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from agentws.errors import VersionConflict
from agentws.runs import deciding
from agentws.testing.agents import Hang, Script
from agentws.testing.connect import kind
from agentws.testing.faults import WrappedStore

from .harness import talk
from .nodes import memory_store

T = TypeVar("T")


class Crossed(WrappedStore):
    """Refuses the next appends with a version conflict, as if other appends had come first."""

    refusals = 0
    refused = 0

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        if operation == "append" and self.refusals:
            self.refusals -= 1
            self.refused += 1
            raise VersionConflict()
        return await call()


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_a_command_with_a_version_conflict_is_decided_again(times: int) -> None:
    store = Crossed(memory_store())
    async with talk(Script("fine"), store=store) as one:
        store.refusals = times
        assert kind(await one.client.say("go", "m1")) == "accepted"
        assert await one.client.answer() == "fine"
        assert store.refused == times
        await one.check()


async def test_a_command_whose_version_conflicts_persist_is_refused_as_retryable() -> None:
    store = Crossed(memory_store())
    async with talk(Script(Hang()), store=store) as one:
        await one.client.say("go", "m1")
        await one.client.until("RUN_STARTED")
        before = await one.log()
        store.refusals = 1_000_000
        loop = asyncio.get_running_loop()
        for frame in (
            {"type": "send", "content": "more"},
            {"type": "cancel"},
            {"type": "command", "name": "clear"},
        ):
            began = loop.time()
            refused = await one.client.ask({**frame, "id": f"x{frame['type']}"})
            if frame["type"] == "command":
                assert refused["code"] == "run_active"
                continue
            assert (refused["code"], refused["retryable"]) == ("conflict", True)
            late = loop.time() - began - deciding.RETRY_SECONDS
            assert 0 <= late <= deciding.LONGEST_PAUSE + 0.1
        assert store.refused < 200, "it tries without a pause"
        store.refusals = 0
        assert await one.log() == before
        assert kind(await one.client.say("more", "xsend")) == "accepted"


async def test_a_run_whose_start_has_a_version_conflict_begins_once() -> None:
    store, script = Crossed(memory_store()), Script("fine")
    async with talk(script, store=store) as one:

        async def crossing(operation: str, call: Callable[[], Awaitable[T]]) -> T:
            if operation == "lease":
                store.refusals = 3
            return await Crossed.around(store, operation, call)

        store.around = crossing  # type: ignore[method-assign]
        await one.client.say("go", "m1")
        assert await one.client.answer() == "fine"
        assert store.refused == 3
        assert script.texts == ["go"]
        assert (await one.kinds()).count("RUN_STARTED") == 1
        await one.check()

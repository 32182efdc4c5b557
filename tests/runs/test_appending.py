"""How the output of a run is batched into appends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from agentws import MemoryStore, RunContext
from agentws.protocol.codec import event_type
from agentws.store import Appended

from .harness import talk


class Recorder(MemoryStore):
    """Keeps the types of the events of each append."""

    def __init__(self) -> None:
        super().__init__()
        self.appends: list[list[str]] = []

    async def append(self, session: str, events: Sequence[bytes], **options: Any) -> Appended:
        self.appends.append([event_type(event) for event in events])
        return await super().append(session, events, **options)


async def test_everything_up_to_the_first_wait_of_an_agent_is_one_append() -> None:
    waiting = asyncio.Event()

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "one "
        yield "two "
        await waiting.wait()
        yield "three"

    store = Recorder()
    async with talk(agent, store=store) as one:
        await one.client.say("go", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        assert store.appends == [
            ["message.accepted"],
            ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT"],
        ]
        waiting.set()
        await one.ended(1)
        await one.check()
        assert await one.texts() == ["one two three"]


async def test_a_run_whose_agent_never_waits_is_one_append() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "one "
        yield "two"

    store = Recorder()
    async with talk(agent, store=store) as one:
        await one.client.say("go", "m1")
        await one.ended(1)
        assert len(store.appends) == 2
        await one.check()


async def test_a_run_is_in_the_log_while_its_factory_waits() -> None:
    waiting = asyncio.Event()

    async def factory() -> Any:
        await waiting.wait()
        raise RuntimeError("no agent")

    store = Recorder()
    async with talk(factory, store=store) as one:
        await one.client.say("go", "m1")
        await one.client.until("RUN_STARTED")
        assert store.appends == [["message.accepted"], ["RUN_STARTED"]]
        waiting.set()
        await one.ended(1)
        await one.check()

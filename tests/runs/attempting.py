"""An agent that allows attempts, and nodes that are lost in its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import msgspec

from agentws import Agent, RunContext
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import decode_record
from agentws.testing.connect import Client, Frame
from agentws.testing.oracle import check_client, check_log, read_log

from .harness import accepted
from .nodes import Node


class Trying(Agent):
    """Hangs in its first attempts; notes what each run was given."""

    attempts = 3
    hangs: ClassVar[int] = 1
    runs: ClassVar[list[tuple[int, str]]] = []

    def __init_subclass__(cls) -> None:
        cls.runs = []

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        self.runs.append((ctx.attempt, ctx.idempotency_key))
        yield f"attempt {ctx.attempt} "
        if ctx.attempt <= self.hangs:
            await asyncio.sleep(1e6)
        yield "done"


async def log_of(node: Node, client: Client) -> list[e.Event]:
    assert client.session is not None
    epoch, records = await read_log(node.store.store, client.session)
    check_log(records, accepted=accepted(client.frames))
    check_client(epoch, records, client.frames, complete=True)
    return [decode_record(record.data).event for record in records]


async def shown(node: Node, client: Client) -> list[tuple[str, Any]]:
    """The conversation in view, as the server has it."""
    session = await node.gateway.sessions.find(str(client.session))
    await session.catch_up()
    messages = [msgspec.to_builtins(one) for one in await session.messages()]
    return [(one["role"], one.get("content", "")) for one in messages]


async def lost_until(end: str, client: Client, first: Node, second: Node) -> None:
    """The first node freezes in an answer; the client waits on the second one for ``end``."""
    await client.say("go", "m1")
    await client.until("TEXT_MESSAGE_CONTENT")
    first.freeze()
    await client.reconnect(second.app)
    await client.until(end, within=30)


def attempts_in(events: list[e.Event]) -> list[int]:
    """The number of each run's attempt, in the log's order."""
    told = [m.told_in(one.metadata) for one in events if isinstance(one, e.RunStarted)]
    return [one.get("attempt", {"number": 1})["number"] for one in told]


def says(text: str, frame: Frame) -> bool:
    return text in str(frame)

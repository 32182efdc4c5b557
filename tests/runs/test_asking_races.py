"""Random schedules of two clients, two nodes and crashes, with agents that call, ask and wait.

The rules: never two active runs, each question has one outcome, a tool whose call is recorded is
not called again, and a late stop hits no later run.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from agentws import RunContext, tool
from agentws.backends.memory import MemoryStore
from agentws.errors import AskDeclined, AskExpired, ToolDenied, ToolError
from agentws.protocol.codec import Record
from agentws.protocol.fold import Fold
from agentws.testing.connect import Client
from agentws.testing.laws import violations
from agentws.testing.oracle import check_log, read_log

from .nodes import Node, client_of_each, freeze_another, memory_store, nodes

EPISODES = 40
STEPS = 40


class Desk:
    """An agent that calls, asks, has a call approved, and has a client call a tool."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()

    @tool
    async def look(self, order: str) -> str:
        self.done[f"look {order}"] += 1
        await asyncio.sleep(0.02)
        return order

    @tool(approve=True)
    async def pay(self, order: str) -> str:
        self.done[f"pay {order}"] += 1
        return order

    async def agent(self, ctx: RunContext) -> AsyncIterator[str]:
        order = ctx.message.id
        yield f"{order}: "
        try:
            await ctx.call(self.look, order=order)
            both = await asyncio.gather(
                ctx.ask(f"Sure of {order}?", choices=["yes", "no"], expires=30),
                ctx.client_tool("locate", {"order": order}, timeout=30),
                return_exceptions=True,
            )
            yield f"{[str(one) for one in both]} "
            yield await ctx.call(self.pay, order=order)
        except (AskDeclined, AskExpired, ToolDenied, ToolError) as error:
            yield f"{error.code}"


class Episode:
    """One schedule."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.store: MemoryStore = memory_store()
        self.sent = 0

    async def records(self) -> list[Record]:
        return (await read_log(self.store, self.session))[1]

    async def play(self, desk: Desk) -> list[Record]:
        chance = self.chance
        options: dict[str, Any] = {
            "park": chance.choice([300.0, 1.0, 0.01]),
            "max_parked": chance.choice([1, 100]),
            "lossy": chance.choice([None, 0.5, 1.0]),
            "lease_ttl": 1.0,
            "max_queued": 3,
        }
        async with AsyncExitStack() as stack:
            each = await stack.enter_async_context(
                nodes(desk.agent, 2, store=self.store, **options)
            )
            first, second = await stack.enter_async_context(client_of_each(*each))
            self.session = str(first.session)
            for _ in range(STEPS):
                await self.step(chance.choice([first, second]), each)
                await asyncio.sleep(chance.choice([0.0, 0.001, 0.01, 0.1, 1.0]))
            for node in each:
                node.thaw()
            await self.settle()
            return await self.records()

    async def step(self, client: Client, each: list[Node]) -> None:
        match self.chance.choice(["send", "answer", "answer", "answer", "stop", "crash"]):
            case "send":
                self.sent += 1
                await client.send({"type": "send", "id": f"m{self.sent}", "content": "go"})
            case "answer":
                await self.answer(client)
            case "stop":
                await client.send({"type": "cancel", "id": "c"})
            case _:
                await freeze_another(each, self.chance)

    async def answer(self, client: Client) -> None:
        """Answers one of the questions, perhaps one that was answered before."""
        asked = [
            interrupt
            for record in await self.records()
            if b'"interrupts":[' in record.data
            for interrupt in msgspec.json.decode(record.data)["event"]["outcome"]["interrupts"]
        ]
        if not asked:
            return
        one = self.chance.choice(asked[-4:])
        payload: dict[str, Any] = {"approved": self.chance.random() < 0.7}
        frame: dict[str, Any] = {"type": "answer", "interrupt": one["id"], "payload": payload}
        if one["reason"] == "agentws:client_tool":
            frame = {"type": "tool_result", "toolCallId": one["id"], "content": "here"}
        elif one["reason"] == "confirmation":
            frame["payload"] = self.chance.choice(["yes", "no"])
        if self.chance.random() < 0.1 and frame["type"] == "answer":
            frame["status"] = "cancelled"
        await client.send({"id": f"a{self.chance.random()}", **frame})

    async def settle(self) -> None:
        """Waits until everything has ended: by its deadline, or with an answer."""
        async with asyncio.timeout(600):
            while True:
                async with asyncio.timeout(60):
                    outline = Fold().apply_all(await self.records()).outline
                    while not outline.is_settled():
                        await asyncio.sleep(1)
                        outline = Fold().apply_all(await self.records()).outline
                approvals = [one for one in outline.interrupts.values() if not one.expires_at]
                if len(approvals) == len(outline.interrupts):
                    return
                await asyncio.sleep(5)


@pytest.mark.parametrize("seed", range(EPISODES))
async def test_the_rules_hold_in_any_order_of_events(seed: int) -> None:
    desk = Desk()
    records = await Episode(seed).play(desk)
    assert violations(records) == []
    check_log(records)
    assert not {name: count for name, count in desk.done.items() if count > 1}
    events = [msgspec.json.decode(record.data)["event"] for record in records]
    outcomes = Counter(
        event["interruptId"] for event in events if event["type"] == "interrupt.answered"
    )
    assert set(outcomes.values()) <= {1}
    results = Counter(
        event["toolCallId"] for event in events if event["type"] == "TOOL_CALL_RESULT"
    )
    assert set(results.values()) <= {1}

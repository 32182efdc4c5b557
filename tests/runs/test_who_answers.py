"""The law of several agents: the log alone says which agent answers each message, and it does.

Two clients on two nodes send, mention, switch and cause handoffs at random, and one node dies.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest

from agentws import RunContext
from agentws.protocol.codec import Record
from agentws.testing.agui import runs_of, verify
from agentws.testing.connect import Client, connect
from agentws.testing.oracle import read_log

from .nodes import memory_store, nodes

NAMES = ["one", "two", "three"]


async def agent(ctx: RunContext) -> Any:
    yield f"{ctx.agent}:{ctx.message.id}"
    await asyncio.sleep(0.001)
    if "hand to" in ctx.text:
        to = ctx.text.split()[-1]
        if to != ctx.agent:
            await ctx.handoff(to)


def step(dice: random.Random, number: int) -> dict[str, Any]:
    name = dice.choice(NAMES)
    message = {"type": "send", "id": f"m{number}"}
    match dice.randrange(5):
        case 0:
            return {"type": "command", "id": f"c{number}", "name": "agent", "args": name}
        case 1:
            return {**message, "content": f"@{name} hello"}
        case 2:
            return {**message, "content": "hello", "agent": name}
        case 3:
            return {**message, "content": f"hand to {name}"}
        case _:
            return {**message, "content": "hello"}


def answered(records: list[Record]) -> list[str]:
    """Checks each run against the events before it; returns the messages that were answered."""
    session, asked = NAMES[0], dict[str, str | None]()
    runs: list[str] = []
    for record in records:
        body = msgspec.json.decode(record.data)
        event = body["event"]
        match event["type"]:
            case "message.accepted":
                asked[event["message"]["id"]] = event.get("agent")
            case "session.updated":
                session = event["agent"]
            case "RUN_STARTED":
                (message,) = event["input"]["messages"]
                runs.append(message["id"])
                now = asked[message["id"]] or session
                assert event["metadata"]["agentws"]["agent"] == now
            case "agent.chosen":
                now = event["agent"]
            case "TEXT_MESSAGE_START":
                assert event["name"] == now
            case _:
                pass
    assert runs == sorted(set(runs), key=runs.index), "a message was answered twice"
    assert set(runs) == asked.keys()
    return runs


async def act(client: Client, frame: dict[str, Any]) -> None:
    await client.ask(frame)


@pytest.mark.parametrize("seed", range(6))
async def test_the_log_alone_says_who_answers(seed: int) -> None:
    dice, store = random.Random(seed), memory_store()
    agents = dict.fromkeys(NAMES, agent)
    async with nodes(agents, store=store, lease_ttl=0.5, max_queued=100) as (one, two):
        async with connect(one.app) as first:
            await first.until("welcome")
            session = first.session
            assert session is not None
            async with connect(two.app, f"/ws/chat?session={session}") as second:
                await second.until("welcome")
                for number in range(30):
                    both = [(first, 2 * number), (second, 2 * number + 1)]
                    acts = [act(client, step(dice, at)) for client, at in both]
                    await asyncio.gather(*acts)
                one.freeze()
                while True:
                    _, records = await read_log(store, session)
                    kinds = [msgspec.json.decode(one.data)["event"]["type"] for one in records]
                    ends = kinds.count("RUN_FINISHED") + kinds.count("RUN_ERROR")
                    if ends == kinds.count("message.accepted"):
                        break
                    await asyncio.sleep(0.05)
    assert len(answered(records)) > 30
    for run in runs_of(records).values():
        verify(run)

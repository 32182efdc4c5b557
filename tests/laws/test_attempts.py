"""Random crashes of two nodes, with cancels and commands, under an agent that allows attempts.

A node that is frozen is a node that died, and one that comes back: what it writes then must be
refused. Every log is checked against the laws.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from agentws import Agent, RunContext
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import Record, decode_record
from agentws.testing.connect import Client
from agentws.testing.laws import moments, violations
from agentws.testing.log_check import check_log
from agentws.testing.oracle import check_client, read_log
from tests.runs.nodes import Node, client_of_each, freeze_another, memory_store, nodes
from tests.virtual import anyio_backend as anyio_backend

ATTEMPTS = 3
EPISODES = 40


class Working(Agent):
    """Works for a random time, longer than a lease now and then."""

    attempts = ATTEMPTS

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        for piece in range(random.randrange(1, 5)):
            yield f"{ctx.text} {ctx.attempt} {piece} "
            await asyncio.sleep(random.choice([0.0, 0.1, 2.0]))
        yield "done"


class Episode:
    """Commands at random times to either node, while the nodes are frozen in turn."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.cancelled: set[str] = set()
        self.sent = 0

    async def play(self, each: Sequence[Node], clients: Sequence[Client]) -> None:
        for _ in range(self.chance.randrange(3, 9)):
            await freeze_another(each, self.chance)
            alive = [client for node, client in zip(each, clients, strict=True) if is_up(node)]
            await self.command(self.chance.choice(alive))
            await asyncio.sleep(self.chance.choice([0.0, 0.5, 4.0, 7.0]))
        for node in each:
            node.thaw()

    async def command(self, client: Client) -> None:
        if self.sent and self.chance.random() < 0.25:
            id = f"m{self.chance.randrange(self.sent) + 1}"
            await client.send({"type": "cancel", "id": f"c{random.random()}", "message": id})
            return
        self.sent += 1
        await client.say(f"question {self.sent}", f"m{self.sent}")


def is_up(node: Node) -> bool:
    return node.store.state == "up"


def attempts_of(records: Sequence[Record]) -> dict[str, list[int]]:
    """The numbers of the attempts at each message's answer, in the log's order."""
    found: dict[str, list[int]] = {}
    for record in records:
        match decode_record(record.data).event:
            case e.RunStarted(input=given) as started if given and given.messages:
                told = m.told_in(started.metadata).get("attempt", {"number": 1})
                found.setdefault(given.messages[0].id, []).append(told["number"])
    return found


@pytest.mark.parametrize("lossy", [None, 0.7], ids=["bus", "lossy bus"])
async def test_random_crashes_and_cancels_keep_the_laws(lossy: float | None, soak: float) -> None:
    retried = 0
    for seed in range(int(EPISODES * soak)):
        random.seed(seed)
        store = memory_store()
        one = Episode(seed)
        async with nodes(Working, store=store, lossy=lossy, max_queued=20) as each:
            async with client_of_each(each[0], each[1]) as clients:
                await one.play(each, clients)
                session = str(clients[0].session)
                epoch, records = await settled(each[0], session)
                for client in clients:
                    await client.settle()
                    check_client(epoch, records, client.frames)
        accepted = [f"m{number + 1}" for number in range(one.sent)]
        check_log(records, accepted=accepted)
        assert not violations(records, max_queued=20), f"seed {seed}"
        for numbers in attempts_of(records).values():
            assert numbers == list(range(1, len(numbers) + 1)), f"seed {seed}"
            assert len(numbers) <= ATTEMPTS, f"seed {seed}"
            retried += len(numbers) - 1
    assert retried > EPISODES * soak / 10


async def settled(node: Node, session: str) -> tuple[str, list[Record]]:
    """The log when nothing is open any more."""
    async with asyncio.timeout(300):
        while True:
            epoch, records = await read_log(node.store.store, session)
            if moments(records)[-1].settled:
                return epoch, records
            await asyncio.sleep(1)

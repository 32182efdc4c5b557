"""Random schedules of a shared state: agents, clients and nodes that change it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from agentws import Agent, RunContext
from agentws.protocol import events as e
from agentws.protocol.codec import Record, decode_record
from agentws.protocol.fold import Fold
from agentws.protocol.jsonpatch import apply_patch
from agentws.testing.connect import Client
from agentws.testing.oracle import check_client, read_log

from .nodes import Node, nodes
from .sharing import SESSION, add, change, expecting, folded


class Busy(Agent):
    """Changes the state at random, and checks that what it sees is what the log will say."""

    accepts_state = True

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
        for number in range(self.rng.randrange(1, 12)):
            choice = self.rng.random()
            if ctx.state is None or choice < 0.1:
                ctx.set_state({"agent": number, "list": []})
            elif choice < 0.5:
                yield e.StateDelta(random_patch(self.rng, "agent"))
            elif choice < 0.7:
                yield "text "
            await asyncio.sleep(self.rng.choice([0, 0.001, 0.01]))
        await asyncio.sleep(0.05)
        # All that it has written is in the log by now.
        assert ctx.state == ctx.output.writer.session.outline.state  # type: ignore[attr-defined]


def random_patch(rng: random.Random, who: str) -> list[dict[str, Any]]:
    """A patch that applies to some states, and not to others."""
    operations = [
        add(f"/{who}", rng.randrange(100)),
        add("/list/-", who),
        add("/list", []),
        {"op": "remove", "path": "/list/0"},
        {"op": "move", "from": f"/{who}", "path": "/moved"},
        {"op": "replace", "path": "", "value": {"list": [who]}},
        {"op": "copy", "from": "/list", "path": "/copy"},
        expecting("/list/0", who),
    ]
    return rng.sample(operations, rng.randrange(1, 3))


async def patching(client: Client, rng: random.Random, name: str) -> int:
    """Sends changes, each until the answer is final; returns how many were accepted."""
    made = 0
    for number in range(15):
        if rng.random() < 0.2:
            await client.say("go", f"m-{name}-{number}")
        frame = change(*random_patch(rng, name), id=f"{name}{number}")
        reply = await client.ask(frame)
        while reply.get("retryable"):
            reply = await client.ask(frame)
        assert reply["type"] == "accepted" or reply["code"] == "state_conflict", reply
        made += reply["type"] == "accepted"
        await asyncio.sleep(rng.choice([0, 0.001, 0.01]))
    return made


async def freezing(node: Node, rng: random.Random) -> int:
    """Lets a node lose its lease in some of the cases: another one ends its run."""
    if rng.random() < 0.5:
        await asyncio.sleep(rng.random() * 0.1)
        node.freeze()
        await asyncio.sleep(6)
        node.thaw()
    return 0


@pytest.mark.parametrize("seed", range(25))
async def test_every_tab_shows_the_state_of_the_log(seed: int) -> None:
    rng = random.Random(seed)
    lossy = rng.choice([None, 0.5, 1.0])
    async with nodes(lambda: Busy(rng), lossy=lossy) as made:
        tabs = [await opened(node) for node in made for _ in range(2)]
        accepted = await asyncio.gather(
            *(patching(tab, rng, name) for tab, name in zip(tabs, "abcd", strict=True)),
            freezing(rng.choice(made), rng),
        )
        late = [await opened(node) for node in made]
        epoch, records = await idle(made)
        state = Fold().apply_all(records).state
        assert changes_that_applied(records) == sum(accepted)
        for tab in [*tabs, *late]:
            await until_position(tab, f"{epoch}.{records[-1].seq}.{records[-1].tag}")
            # The frames of a snapshot share its position.
            await tab.settle()
            check_client(epoch, records, tab.frames, complete=False)
            assert folded(tab) == state
            await tab.aclose()


def changes_that_applied(records: Sequence[Record]) -> int:
    """How many changes of clients are in the log. Raises BadRequest if one does not apply there."""
    fold, count = Fold(), 0
    for record in records:
        body = decode_record(record.data)
        if isinstance(body.event, e.StateChanged):
            apply_patch({} if fold.state is None else fold.state, body.event.patch)
            count += 1
        fold.apply(body.event, body.run)
    return count


async def opened(node: Node) -> Client:
    client = Client(node.app, f"/ws/chat?session={SESSION}")
    await client.open()
    await client.until("welcome")
    return client


async def until_position(client: Client, position: str) -> None:
    while client.position != position:
        await client.receive()


async def idle(made: list[Node]) -> Any:
    """The log once no run is active or queued."""
    while True:
        epoch, records = await read_log(made[0].store, SESSION)
        if Fold().apply_all(records).outline.is_settled():
            return epoch, records
        await asyncio.sleep(0.05)

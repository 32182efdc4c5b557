"""Random schedules of branches: two clients on two nodes, and nodes that die.

The rules: the log is legal, clients get it once and in order, a message in view is answered at most
once, by an agent that saw the same branch, and a client that comes later is shown that branch.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from agentws import RunContext
from agentws.backends.memory import MemoryStore
from agentws.protocol.codec import Record
from agentws.protocol.fold import Fold
from agentws.protocol.messages import UserMessage
from agentws.testing.connect import Client, Frame, connect
from agentws.testing.laws import violations
from agentws.testing.oracle import check_client, check_log, read_log
from tests.runs.nodes import Node, client_of_each, freeze_another, memory_store, nodes

EPISODES = 30
STEPS = 40
FRAMES = ("send", "send", "edit", "edit", "regenerate", "switch", "switch", "stop", "crash")


async def counting(ctx: RunContext) -> AsyncIterator[str]:
    """Says its message, and how many user messages are in view before it."""
    yield f"{ctx.text} "
    await asyncio.sleep(0.02)
    yield f"#{sum(isinstance(one, UserMessage) for one in await ctx.history())}"


class Episode:
    """One schedule."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.store: MemoryStore = memory_store()
        self.sent = 0
        self.session = ""
        self.frames: list[list[Frame]] = []
        """What each of the two clients received."""

    async def records(self) -> list[Record]:
        return (await read_log(self.store, self.session))[1]

    async def fold(self) -> Fold:
        return Fold().apply_all(await self.records())

    async def play(self) -> list[list[dict[str, Any]]]:
        """Returns what the clients of each node are shown when they come after the end."""
        chance = self.chance
        lossy = chance.choice([None, 0.5, 1.0])
        async with AsyncExitStack() as stack:
            options: dict[str, Any] = {"lossy": lossy, "lease_ttl": 1.0, "max_queued": 3}
            each = await stack.enter_async_context(nodes(counting, 2, store=self.store, **options))
            first, second = await stack.enter_async_context(client_of_each(*each))
            self.session = str(first.session)
            for _ in range(STEPS):
                await self.step(chance.choice([first, second]), each)
                await asyncio.sleep(chance.choice([0.0, 0.001, 0.01, 0.1, 1.0]))
            for node in each:
                node.thaw()
            await self.settle()
            for client in (first, second):
                client.take_waiting()
                self.frames.append(client.frames)
            return [await self.shown(node) for node in each]

    async def step(self, client: Client, each: list[Node]) -> None:
        what = self.chance.choice(FRAMES)
        if what == "crash":
            await freeze_another(each, self.chance)
        elif (frame := self.frame(what, await self.fold())) is not None:
            await client.send(frame)

    def frame(self, what: str, fold: Fold) -> dict[str, Any] | None:
        """A frame about what was in view a moment ago."""
        self.sent += 1
        id = f"{what}{self.sent}"
        if what == "stop":
            return {"type": "cancel", "id": id}
        if what == "send":
            return {"type": "send", "id": id, "content": id}
        seen = [one for one in plain(fold) if one["role"] == "user"]
        if not seen:
            return None
        one = self.chance.choice(seen)
        if what == "edit":
            return {"type": "edit", "id": id, "message": one["id"], "content": id}
        if what == "regenerate":
            return {"type": "regenerate", "id": id, "message": one["id"]}
        known = one.get("metadata", {}).get("agentws", {}).get("branches", {}).get("ids")
        return {"type": "switch", "id": id, "branch": self.chance.choice(known)} if known else None

    async def settle(self) -> None:
        """Waits until nothing is open, and what a frozen node held back has arrived."""
        async with asyncio.timeout(600):
            head = -1
            while not (await self.fold()).outline.is_settled() or head != len(await self.records()):
                head = len(await self.records())
                await asyncio.sleep(10)

    async def shown(self, node: Node) -> list[dict[str, Any]]:
        url = f"/ws/chat?session={self.session}"
        async with connect(node.app, url) as client:
            frame = await client.until("MESSAGES_SNAPSHOT")
            found: list[dict[str, Any]] = frame["event"]["messages"]
            return found


def plain(fold: Fold) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.to_builtins(fold.messages)
    return found


async def test_every_client_shows_the_branch_that_the_log_has_in_view(soak: float) -> None:
    kinds: set[str] = set()
    for seed in range(max(1, int(EPISODES * soak))):
        episode = Episode(seed)
        shown = await episode.play()
        epoch, records = await read_log(episode.store, episode.session)
        assert violations(records) == [], f"seed {seed}"
        check_log(records)
        for frames in episode.frames:
            check_client(epoch, records, frames, complete=False)
        one, other = shown
        assert one == other, f"seed {seed}"
        assert one == plain(Fold().apply_all(records)), f"seed {seed}"
        check_answers(one)
        kinds |= changes_of_the_view(records)
    assert soak < 1.0 or kinds == {"switch", "cut"}


def changes_of_the_view(records: list[Record]) -> set[str]:
    events = [msgspec.json.decode(record.data)["event"] for record in records]
    changes = [event for event in events if event["type"] == "history.branched"]
    return {"switch" if event.get("reload") else "cut" for event in changes}


def check_answers(messages: list[dict[str, Any]]) -> None:
    """Each message is answered at most once, by an agent that saw this branch."""
    asked: list[str] = []
    answered: set[str] = set()
    for one in messages:
        if one["role"] == "user":
            asked.append(one["content"])
            continue
        text, _, number = one["content"].partition(" #")
        assert text.strip() in asked and text not in answered
        assert not number or int(number) == asked.index(text) + 1
        answered.add(text)

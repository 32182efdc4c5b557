"""The law of replay, for random agents: each question gets its own answer, nothing is done twice.

An agent runs a random program of calls, questions, delegates, handoffs and parts that work at the
same time. All calls are equal, and so are all questions. It is let go at random times, and is
called again.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from agentws import MemoryFileStore, Router, RunContext, tool
from agentws.protocol.codec import Record
from agentws.testing.agui import runs_of, verify
from agentws.testing.connect import connect
from agentws.testing.oracle import TERMINAL, read_log

from .asking import answer
from .nodes import memory_store, nodes

FAR = 100_000
"""Seconds between the deadlines of two questions: a deadline tells which question it is."""

Program = list[tuple[str, Any]]


class World:
    """A random program, and what its parts have been told. Each part has a number."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.numbers = itertools.count(1)
        self.programs: dict[str, Program] = {}
        self.told: dict[int, set[Any]] = defaultdict(set)
        self.made = 0
        self.routed: Counter[str] = Counter()
        self.first = self.named(depth=3, last=True)

    def named(self, *, depth: int, last: bool = False) -> str:
        name = f"program {next(self.numbers)}"
        self.programs[name] = self.program(depth)
        if last and self.dice.random() < 0.5 and depth:
            self.programs[name].append(("handoff", self.named(depth=depth - 1, last=True)))
        return name

    def program(self, depth: int) -> Program:
        kinds = ["call", "ask", "show", "approved", "client", "file"]
        kinds += ["within", "delegate", "together"] * (depth > 0)
        return [
            self.step(self.dice.choice(kinds), depth - 1) for _ in range(self.dice.randint(1, 3))
        ]

    def step(self, kind: str, depth: int) -> tuple[str, Any]:
        match kind:
            case "within":
                return kind, (next(self.numbers), self.program(depth))
            case "delegate":
                return kind, self.named(depth=depth)
            case "together":
                # The order of calls and delegates that work at the same time is not the agent's.
                kinds = [self.dice.choice(["within", "delegate"]) for _ in range(3)]
                return kind, [[self.step(one, depth)] for one in kinds]
            case _:
                return kind, next(self.numbers)

    def steps(self, kind: str) -> list[Any]:
        """What the steps of a kind have, in all programs."""
        programs = self.programs.values()
        return [what for one in programs for name, what in steps_in(one) if name == kind]

    # The agents

    @tool
    async def count(self) -> int:
        self.made += 1
        made = self.made
        await asyncio.sleep(self.dice.choice([0, 0.01, 0.02]))
        return made

    @tool(approve=True)
    async def count_approved(self) -> int:
        self.made += 1
        return self.made

    @tool
    async def within(self, ctx: RunContext, number: int) -> str:
        await asyncio.sleep(self.dice.choice([0, 0.01]))
        await self.execute(ctx, dict(self.steps("within"))[number])
        return "done"

    async def execute(self, ctx: RunContext, program: Program) -> None:
        for kind, what in program:
            match kind:
                case "call":
                    self.told[what].add(await ctx.call(self.count))
                case "ask":
                    self.told[what].add(await ctx.ask("Sure?", expires=what * FAR))
                case "approved":
                    self.told[what].add(await ctx.call(self.count_approved))
                case "client":
                    place = await ctx.client_tool("locate", timeout=what * FAR)
                    self.told[what].add(int(place))
                case "file":
                    file = await ctx.write_file("same name", str(what))
                    self.told[what].add(await file.read(limit=100))
                case "show":
                    ctx.show("part", {"number": what})
                case "within":
                    await ctx.call(self.within, number=what[0])
                case "delegate":
                    await ctx.delegate("auto", what)
                case "together":
                    await asyncio.gather(*(self.execute(ctx, one) for one in what))
                case _:
                    other = "two" if ctx.agent == "one" else "one"
                    await ctx.handoff(other, what)

    async def agent(self, ctx: RunContext) -> AsyncIterator[str]:
        handed = ctx.handed_over
        name = ctx.text if handed is None else str(handed.reason)
        await self.execute(ctx, self.programs[self.first if name == "go" else name])
        yield f"end of {name}"

    def choose(self, ctx: RunContext) -> str:
        self.routed[ctx.text] += 1
        return self.dice.choice(["one", "two"])


def steps_in(program: Program) -> Iterator[tuple[str, Any]]:
    """The steps of a program, with those inside of them."""
    for kind, what in program:
        yield kind, what
        for inner in [what[1]] if kind == "within" else what if kind == "together" else []:
            yield from steps_in(inner)


def answer_to(question: dict[str, Any]) -> Any:
    if question["reason"] == "tool_call":
        return {"approved": True}
    left = datetime.fromisoformat(question["expiresAt"]) - datetime.now(UTC)
    number = round(left.total_seconds() / FAR)
    return {"content": str(number)} if "toolCallId" in question else number


def shown(records: list[Record]) -> Counter[int]:
    """How often each part was shown, by the log."""
    events = [msgspec.json.decode(one.data)["event"] for one in records]
    return Counter(
        one["content"]["number"]
        for one in events
        if one["type"] == "ACTIVITY_SNAPSHOT" and one["activityType"] == "part"
    )


@pytest.mark.parametrize("seed", range(60))
async def test_every_part_of_a_random_agent_is_done_once_and_told_its_own(seed: int) -> None:
    world = World(seed)
    agents = {"one": world.agent, "two": world.agent, "auto": Router(world.choose, default="one")}
    store, kept = memory_store(), MemoryFileStore()
    limits = {"park": 0.1, "max_delegates": 100, "max_handoffs": 100, "max_delegate_depth": 10}
    async with nodes(agents, 1, store=store, files=kept, **limits) as (node,):
        async with connect(node.app) as client:
            await client.until("welcome")
            await client.say("go", "m1")
            for turn in itertools.count(1):
                ended = await client.until(lambda one: one.get("event", {}).get("type") in TERMINAL)
                asked = ended["event"].get("outcome", {}).get("interrupts")
                if not asked:
                    break
                await asyncio.sleep(world.dice.choice([0, 0, 0.3]))
                world.dice.shuffle(asked)
                for at, one in enumerate(asked):
                    await client.ask(answer(f"a{turn}.{at}", one["id"], answer_to(one)))
            assert ended["event"].get("outcome") == {"type": "success"}, ended
            _, records = await read_log(store, str(client.session))
    for run in runs_of(records).values():
        verify(run)
    asks = world.steps("ask") + world.steps("client")
    calls = world.steps("call") + world.steps("approved")
    files = world.steps("file")
    assert {one: world.told[one] for one in asks} == {one: {one} for one in asks}
    assert all(len(world.told[one]) == 1 for one in calls), "another result the second time"
    assert world.made == len(calls), "a call was made twice, or never"
    assert {one: world.told[one] for one in files} == {one: {str(one).encode()} for one in files}
    assert len(kept._files) == len(files), "a file was made twice"
    assert shown(records) == Counter(world.steps("show"))
    assert set(world.routed.values()) <= {1}

"""Steering: a message for the run that is active, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentws import RunContext
from agentws.backends.memory import MemoryStore
from agentws.errors import AgentError
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.testing.agents import Gate
from agentws.testing.connect import connect, kind
from agentws.testing.faults import FaultyStore
from agentws.testing.laws import violations
from agentws.testing.oracle import check_client, check_log, read_log

from .harness import Talk, accepted, talk
from .nodes import nodes


class Steered:
    """An agent that writes, waits, takes what came, and writes again."""

    def __init__(self, *, speaks_first: bool = True) -> None:
        self.speaks_first = speaks_first
        self.gate = Gate()
        self.taken: list[Any] = []
        self.texts: list[str] = []

    async def __call__(self, ctx: RunContext) -> Any:
        self.texts.append(ctx.text)
        if self.speaks_first:
            yield "before"
        if ctx.text == "slow":
            await self.gate.wait()
            self.taken += [one.content for one in await ctx.steered()]
            yield "after"


def told(fold: Any) -> list[tuple[str, Any]]:
    return [(type(one).__name__[0], one.content) for one in fold.messages]


async def outcomes(one: Talk) -> list[tuple[str, str, str | None]]:
    found = [event for event in one.client.events() if event["type"] == "message.steered"]
    return [(event["messageId"], event["outcome"], event.get("reason")) for event in found]


async def test_a_steering_message_reaches_the_active_run_and_is_shown_where_it_did() -> None:
    agent = Steered()
    async with talk(agent) as one:
        await one.client.say("slow", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        assert kind(await one.client.say("faster", "m2", overlap="steer")) == "accepted"
        agent.gate.open()
        await one.terminal()
        fold = await one.check()
        assert await outcomes(one) == [("m2", "delivered", None)]
    assert agent.taken == ["faster"]
    assert told(fold) == [("U", "slow"), ("A", "before"), ("U", "faster"), ("A", "after")]
    assert agent.texts == ["slow"]


@pytest.mark.parametrize("end", ["finished", "failed", "cancelled"])
async def test_an_undelivered_message_says_why_and_runs_next(end: str) -> None:
    gate, texts = Gate(), list[str]()

    async def agent(ctx: RunContext) -> Any:
        texts.append(ctx.text)
        yield "text"
        if ctx.text == "first":
            await gate.wait()
            if end == "failed":
                raise AgentError("no")

    async with talk(agent) as one:
        await one.client.say("first", "m1")
        await gate.reached()
        await one.client.say("queued", "m2")
        await one.client.say("steer 1", "m3", overlap="steer")
        await one.client.say("steer 2", "m4", overlap="steer")
        if end == "cancelled":
            await one.client.ask({"type": "cancel", "id": "c", "message": "m1"})
        gate.open()
        await one.ended(4)
        assert await outcomes(one) == [("m3", "undelivered", end), ("m4", "undelivered", end)]
        await one.check()
        kinds = await one.kinds()
        first_end = next(i for i, name in enumerate(kinds) if name in ("RUN_FINISHED", "RUN_ERROR"))
        assert kinds[first_end + 1 : first_end + 4] == [
            "message.steered",
            "message.steered",
            "RUN_STARTED",
        ]
    assert texts == ["first", "steer 1", "steer 2", "queued"]


async def test_a_message_that_interrupts_runs_before_what_was_to_steer() -> None:
    gate, texts = Gate(), list[str]()

    async def agent(ctx: RunContext) -> Any:
        texts.append(ctx.text)
        yield "text"
        await gate.wait()

    async with talk(agent) as one:
        await one.client.say("first", "m1")
        await gate.reached()
        await one.client.say("queued", "m2")
        await one.client.say("steer", "m3", overlap="steer")
        now = {"type": "send", "id": "m4", "content": "now", "overlap": "interrupt"}
        late = {"type": "send", "id": "m5", "content": "late", "overlap": "steer"}
        await asyncio.gather(one.client.send(now), one.client.send(late))
        gate.open()
        await one.ended(5)
        assert await outcomes(one) == [
            ("m5", "undelivered", "cancelled"),
            ("m3", "undelivered", "cancelled"),
        ]
        await one.check()
    assert texts == ["first", "now", "steer", "queued", "late"]


async def test_without_an_active_run_it_is_queued_at_once() -> None:
    async with talk(Steered()) as one:
        await one.client.say("hello", "m1", overlap="steer")
        await one.terminal()
        assert await outcomes(one) == [("m1", "undelivered", "no_run")]
        assert (await one.kinds())[:3] == ["message.accepted", "message.steered", "RUN_STARTED"]
        await one.check()


async def test_an_undecided_steering_message_is_withdrawn_and_never_delivered() -> None:
    agent = Steered()
    async with talk(agent) as one:
        await one.client.say("slow", "m1")
        await agent.gate.reached()
        await one.client.say("one", "m2", overlap="steer")
        await one.client.say("two", "m3", overlap="steer")
        done = await one.client.ask({"type": "withdraw", "id": "w1", "message": "m2"})
        assert kind(done) == "accepted"
        await one.client.ask({"type": "cancel", "id": "c1", "message": "m3"})
        agent.gate.open()
        await one.terminal()
        assert await outcomes(one) == []
        late = await one.client.ask({"type": "withdraw", "id": "w2", "message": "m2"})
        assert late["code"] == "not_found"
        await one.check()
    assert agent.taken == []


async def test_a_delivered_message_names_its_run_for_a_cancel() -> None:
    stepped = asyncio.Event()

    async def agent(ctx: RunContext) -> Any:
        yield "text"
        async for message in ctx.steering():
            yield f"got {message.content}"
            stepped.set()

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        await one.client.say("left", "m2", overlap="steer")
        await stepped.wait()
        await one.client.ask({"type": "cancel", "id": "c1", "message": "m2"})
        ended = (await one.terminal())["event"]
        assert ended["outcome"] == {"type": "cancelled"}
        late = await one.client.ask({"type": "withdraw", "id": "w", "message": "m2"})
        assert late["code"] == "not_found"
        await one.check()


async def test_the_same_id_again_is_a_duplicate() -> None:
    agent = Steered()
    async with talk(agent) as one:
        await one.client.say("slow", "m1")
        await agent.gate.reached()
        first = await one.client.say("left", "m2", overlap="steer")
        again = await one.client.say("left", "m2", overlap="steer")
        assert (again["duplicate"], again["position"]) == (True, first["position"])
        agent.gate.open()
        await one.terminal()
        late = await one.client.say("left", "m2", overlap="steer")
        assert (late["duplicate"], late["position"]) == (True, first["position"])
        await one.check()
    assert agent.taken == ["left"]


async def test_an_agent_that_listens_gets_each_message_as_it_comes() -> None:
    async def agent(ctx: RunContext) -> Any:
        async for message in ctx.steering():
            yield f"got {message.content}"
            if message.content == "stop":
                return

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.client.until("RUN_STARTED")
        for number, text in enumerate(["one", "two", "stop"]):
            await one.client.say(text, f"m{number + 2}", overlap="steer")
        await one.terminal()
        fold = await one.check()
    assert [one[1] for one in told(fold)] == [
        "go",
        "one",
        "got one",
        "two",
        "got two",
        "stop",
        "got stop",
    ]


async def test_what_a_listener_leaves_is_not_delivered() -> None:
    gate, texts = Gate(), list[str]()

    async def agent(ctx: RunContext) -> Any:
        texts.append(ctx.text)
        yield "text"
        if ctx.text == "go":
            await gate.wait()
            async for message in ctx.steering():
                yield f"got {message.content}"
                break

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.say("one", "m2", overlap="steer")
        await one.client.say("two", "m3", overlap="steer")
        gate.open()
        await one.ended(2)
        assert await outcomes(one) == [
            ("m2", "delivered", None),
            ("m3", "undelivered", "finished"),
        ]
        await one.check()
    assert texts == ["go", "two"]


async def test_a_listener_in_a_task_ends_with_the_run() -> None:
    ended = asyncio.Event()

    async def agent(ctx: RunContext) -> Any:
        async def listen() -> None:
            async for _ in ctx.steering():
                pass
            ended.set()

        task = asyncio.create_task(listen())
        await asyncio.sleep(0)
        yield "text"
        ctx.output.write("")
        del task

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        await asyncio.wait_for(ended.wait(), 1)
        await one.check()


async def test_a_full_queue_counts_what_is_to_steer() -> None:
    gate = Gate()

    async def agent(ctx: RunContext) -> Any:
        await gate.wait()
        yield "text"

    async with talk(agent, max_queued=1) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.say("one", "m2", overlap="steer")
        refused = await one.client.say("two", "m3", overlap="steer")
        assert refused["code"] == "queue_full"
        gate.open()
        await one.ended(2)
        await one.check()


async def test_history_has_the_message_where_it_was_delivered() -> None:
    agent = Steered()
    seen: list[list[m.Message]] = []

    async def run(ctx: RunContext) -> Any:
        if ctx.text == "history":
            seen.append(await ctx.history())
        async for item in agent(ctx):
            yield item

    async with talk(run) as one:
        await one.client.say("slow", "m1")
        await agent.gate.reached()
        await one.client.say("faster", "m2", overlap="steer")
        agent.gate.open()
        await one.terminal()
        await one.client.say("history", "m3")
        await one.ended(2)
    assert [one.content for one in seen[0]] == ["slow", "before", "faster", "after", "history"]


@pytest.mark.parametrize(
    "command",
    [{"type": "withdraw", "message": "m2"}, {"type": "cancel", "message": "m1"}],
    ids=["withdrawn", "stopped"],
)
async def test_another_node_comes_before_the_delivery(command: dict[str, str]) -> None:
    """The node of the run does not know of the command yet: no bell, and it polls rarely."""
    # No text to end, so that the delivery is the next append of the run.
    agent = Steered(speaks_first=False)
    rarely: dict[str, Any] = {"poll_interval": 50.0, "idle_poll_interval": 50.0, "lease_ttl": 100.0}
    async with nodes(agent, lossy=1.0, **rarely) as (first, second):
        async with connect(first.app) as here:
            await here.say("slow", "m1")
            await agent.gate.reached()
            await here.say("faster", "m2", overlap="steer")
            async with connect(second.app, f"/ws/chat?session={here.session}") as there:
                done = await there.ask({"id": "c1", **command})
                assert kind(done) == "accepted"
            agent.gate.open()
            while not any(event["type"] == "RUN_FINISHED" for event in here.events()):
                await here.receive(within=200)
            await asyncio.sleep(200)
            await here.settle()
            assert here.session is not None
            epoch, records = await read_log(first.store.store, here.session)
            assert violations(records) == []
            check_log(records, accepted=accepted(here.frames))
            check_client(epoch, records, here.frames, complete=True)
    assert agent.taken == []


async def test_a_node_that_dies_leaves_the_message_to_the_next() -> None:
    agent = Steered()
    async with nodes(agent) as (first, second):
        async with connect(first.app) as client:
            await client.say("slow", "m1")
            await agent.gate.reached()
            await client.say("steer", "m2", overlap="steer")
            first.freeze()
            await client.reconnect(second.app)
            await client.until("RUN_FINISHED", within=20)
            assert client.session is not None
            epoch, records = await read_log(second.store.store, client.session)
            assert violations(records) == []
            check_client(epoch, records, client.frames, complete=True)
            steered = [one for one in client.events() if one["type"] == "message.steered"]
            assert [(one["outcome"], one["reason"]) for one in steered] == [
                ("undelivered", "interrupted")
            ]
    assert agent.texts == ["slow", "steer"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("take", ["steered", "steering"])
async def test_a_delivery_is_made_once_although_its_append_fails(after: bool, take: str) -> None:
    store, gate, got = FaultyStore(MemoryStore()), Gate(), list[Any]()

    async def agent(ctx: RunContext) -> Any:
        # No text to end, so that the delivery is the next append of the run.
        await gate.wait()
        store.fail("append", times=1, after=after)
        if take == "steered":
            got.extend(one.content for one in await ctx.steered())
        else:
            async for message in ctx.steering():
                got.append(message.content)
                break
        yield "after"

    async with talk(agent, store=store) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.say("left", "m2", overlap="steer")
        gate.open()
        await one.terminal()
        assert await outcomes(one) == [("m2", "delivered", None)]
        await one.check()
    assert got == ["left"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_an_outcome_is_appended_once_although_its_append_fails(after: bool) -> None:
    store, gate, texts = FaultyStore(MemoryStore()), Gate(), list[str]()

    async def agent(ctx: RunContext) -> Any:
        texts.append(ctx.text)
        yield "text"
        await gate.wait()

    async with talk(agent, store=store) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.say("late", "m2", overlap="steer")
        gate.open()
        await one.terminal()
        store.fail("append", times=1, after=after)
        await one.ended(2)
        assert await outcomes(one) == [("m2", "undelivered", "finished")]
        await one.check()
    assert texts == ["go", "late"]


async def test_a_message_is_taken_once_by_two_tasks() -> None:
    async def agent(ctx: RunContext) -> Any:
        yield "text"
        await gate.wait()
        taken = await asyncio.gather(*(ctx.steered() for _ in range(3)))
        got.extend(one.id for some in taken for one in some)

    gate, got = Gate(), list[str]()
    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.say("one", "m2", overlap="steer")
        await one.client.say("two", "m3", overlap="steer")
        gate.open()
        await one.terminal()
        await one.check()
    assert sorted(got) == ["m2", "m3"]


async def test_a_run_that_is_over_takes_nothing() -> None:
    contexts: list[RunContext] = []

    async def agent(ctx: RunContext) -> Any:
        contexts.append(ctx)
        yield "text"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert await contexts[0].steered() == []
        assert [message async for message in contexts[0].steering()] == []


async def test_an_open_message_of_the_agents_own_goes_on_after_a_delivery() -> None:
    """Only text that was yielded plainly is ended: the agent closes what it has opened."""
    gate = Gate()

    async def agent(ctx: RunContext) -> Any:
        yield e.TextMessageStart("own")
        yield e.TextMessageContent(message_id="own", delta="one ")
        await gate.wait()
        await ctx.steered()
        yield e.TextMessageContent(message_id="own", delta="two")
        yield e.TextMessageEnd("own")

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.say("left", "m2", overlap="steer")
        gate.open()
        await one.terminal()
        fold = await one.check()
    assert told(fold) == [("U", "go"), ("A", "one two"), ("U", "left")]

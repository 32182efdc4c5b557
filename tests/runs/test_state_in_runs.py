"""What a running agent sees of the shared state that clients change too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws import RunContext
from agentws.errors import BadRequest
from agentws.protocol import events as e
from agentws.testing.connect import connect
from agentws.testing.faults import SlowStore

from .harness import talk
from .nodes import memory_store, nodes
from .sharing import SESSION, Open, add, change, expecting, folded


async def test_a_running_agent_is_told_of_changes() -> None:
    async with talk(Open) as one:
        await one.client.say("wait", "m1")
        await one.client.until("STATE_SNAPSHOT")
        await one.client.ask(change(add("/go", False)))
        await one.client.ask(change(add("/go", True), id="s2"))
        assert await one.client.answer() == "went with {'waiting': True, 'go': True}"
        await one.check()


async def test_a_running_agent_on_another_node_is_told_of_changes() -> None:
    async with nodes(Open, lossy=1.0) as (one, two):
        async with connect(one.app, f"/ws/chat?session={SESSION}") as client:
            await client.say("wait", "m1")
            await client.until("STATE_SNAPSHOT")
            async with connect(two.app, f"/ws/chat?session={SESSION}") as other:
                reply = await other.ask(change(expecting("/waiting", True), add("/go", 1)))
                assert reply["type"] == "accepted"
            assert await client.answer() == "went with {'waiting': True, 'go': 1}"


async def test_what_a_run_has_written_stays_on_top_of_a_change() -> None:
    """Also while it is not in the log yet: the change comes first there, the delta after it."""
    seen: list[Any] = []
    go = asyncio.Event()

    class Writer(Open):
        async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
            ctx.set_state({"mine": 0, "list": []})
            await go.wait()
            ctx.patch_state([add("/mine", 1)])
            seen.append(ctx.state)
            yield e.StateDelta([add("/list/-", "a")])
            seen.append(ctx.state)

    async with talk(Writer) as one:
        await one.client.say("go", "m1")
        await one.client.until("STATE_SNAPSHOT")
        await one.client.ask(change(add("/yours", 1), add("/mine", 7)))
        go.set()
        await one.terminal()
        assert (await one.check()).state == {"mine": 1, "yours": 1, "list": ["a"]}
    assert seen == [
        {"mine": 1, "yours": 1, "list": []},
        {"mine": 1, "yours": 1, "list": ["a"]},
    ]


async def test_a_change_may_come_before_what_the_run_has_written_and_not_appended() -> None:
    seen: list[Any] = []
    written, go = asyncio.Event(), asyncio.Event()

    class Writer(Open):
        async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
            ctx.set_state({"list": []})
            await go.wait()
            for name in ("a", "b"):
                ctx.patch_state([add("/list/-", name)])
                await asyncio.sleep(0.01)
            written.set()
            async for state in ctx.state_changes():
                seen.append(state)
                break
            yield e.StateDelta([add("/list/-", "c")])
            seen.append(ctx.state)

    store = memory_store()
    async with nodes(Writer, store=store) as (one, two):
        slow = one.store.store = SlowStore(store, slow_on="append")
        async with connect(one.app, f"/ws/chat?session={SESSION}") as client:
            await client.say("go", "m1")
            await client.until("STATE_SNAPSHOT")
            slow.pause()
            go.set()
            await written.wait()
            async with connect(two.app, f"/ws/chat?session={SESSION}") as other:
                assert (await other.ask(change(add("/list/0", "first"))))["type"] == "accepted"
                await asyncio.sleep(0.1)
                slow.resume()
                await client.until("RUN_FINISHED")
                assert folded(client) == {"list": ["first", "a", "b", "c"]}
    assert seen == [{"list": ["first", "a", "b"]}, {"list": ["first", "a", "b", "c"]}]


async def test_the_delta_of_an_agent_that_no_longer_applies_changes_nothing() -> None:
    removed, written = asyncio.Event(), asyncio.Event()

    class Writer(Open):
        async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
            ctx.set_state({"draft": {"text": ""}})
            await removed.wait()
            yield e.StateDelta([add("/draft/text", "late")])
            with pytest.raises(BadRequest, match="Operation 1 of the patch, add /draft/text"):
                ctx.patch_state([add("/draft/text", "late")])
            written.set()

    async with talk(Writer) as one:
        await one.client.say("go", "m1")
        await one.client.until("STATE_SNAPSHOT")
        await one.client.ask(change({"op": "remove", "path": "/draft"}))
        removed.set()
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"
        assert written.is_set() and (await one.check()).state == {}


@pytest.mark.parametrize("late", [False, True])
async def test_the_iterator_of_changes_ends_with_the_run(late: bool) -> None:
    ended, over = asyncio.Event(), asyncio.Event()

    class Leaking(Open):
        async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
            async def watch() -> None:
                if late:
                    await over.wait()
                async for _ in ctx.state_changes():
                    pass
                ended.set()

            self.task = asyncio.create_task(watch())
            await asyncio.sleep(0)
            yield "done"

    async with talk(Leaking) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        over.set()
        await asyncio.wait_for(ended.wait(), 1)


async def test_a_value_that_json_writes_otherwise_is_seen_as_clients_see_it() -> None:
    seen: list[Any] = []

    class Odd(Open):
        async def run(self, ctx: RunContext) -> AsyncIterator[Any]:
            ctx.set_state({"pair": (1, 2)})
            ctx.patch_state([add("/pair/-", 3)])
            seen.append(ctx.state)
            yield "done"

    async with talk(Odd) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert seen == [{"pair": [1, 2, 3]}] == [(await one.check()).state]

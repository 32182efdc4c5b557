"""Another attempt at an answer whose node was lost, where the agent allows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, ClassVar

import msgspec
import pytest

from agentws import Agent, AgentError, RunContext
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import event_type
from agentws.protocol.fold import Fold
from agentws.protocol.message_run import MessageRun
from agentws.runs import attempts
from agentws.runs.ids import now_ms
from agentws.testing.connect import Client, connect
from agentws.testing.oracle import read_log

from .attempting import Trying, attempts_in, log_of, lost_until, says, shown
from .nodes import Node, nodes


async def lost_and_answered(client: Client, first: Node, second: Node) -> None:
    await lost_until("RUN_FINISHED", client, first, second)


async def test_a_lost_answer_is_attempted_again_and_the_first_text_is_out_of_view() -> None:
    class Twice(Trying):
        pass

    async with nodes(Twice) as (first, second):
        async with connect(first.app) as client:
            await lost_and_answered(client, first, second)
            events = await log_of(second, client)
            kinds = [one.__struct_config__.tag for one in events]
            at = kinds.index("RUN_ERROR")
            assert kinds[at : at + 4] == [
                "RUN_ERROR",
                "history.branched",
                "message.accepted",
                "RUN_STARTED",
            ]
            assert await shown(second, client) == [
                ("user", "go"),
                ("assistant", "attempt 2 done"),
            ]
            # What a client makes of the events.
            _, records = await read_log(second.store.store, str(client.session))
            told = msgspec.to_builtins(Fold().apply_all(records).messages)
            assert [one["content"] for one in told] == ["go", "attempt 2 done"]
            # What a wire that answers one request selects.
            answer = MessageRun("m1").select(records)
            assert [event_type(one.data) for one in answer][-1] == "RUN_FINISHED"
            assert sum(event_type(one.data) == "RUN_STARTED" for one in answer) == 2
            error = events[at]
            assert isinstance(error, e.RunError)
            assert error.code == "interrupted"
            assert error.metadata == {"agentws": {"retryable": True, "nextAttempt": 2}}
    (one, key), (two, same) = Twice.runs
    assert (one, two) == (1, 2)
    assert key == same


async def test_an_agent_that_does_not_allow_it_is_not_called_again() -> None:
    class Once(Trying):
        attempts = 1

    async with nodes(Once) as (first, second):
        async with connect(first.app) as client:
            await lost_until("RUN_ERROR", client, first, second)
            await asyncio.sleep(5)
            await log_of(second, client)
            assert await shown(second, client) == [("user", "go"), ("assistant", "attempt 1 ")]
    assert len(Once.runs) == 1


async def test_attempts_are_bounded() -> None:
    class Never(Trying):
        hangs = 99

    async with nodes(Never) as each:
        async with connect(each[0].app) as client:
            await client.say("go", "m1")
            for number in range(1, 4):
                here, other = each[(number + 1) % 2], each[number % 2]
                await client.until(partial(says, f"attempt {number} "), within=30)
                here.freeze()
                other.thaw()
                await client.reconnect(other.app)
                await client.until("RUN_ERROR", within=30)
            await asyncio.sleep(10)
            events = await log_of(other, client)
            assert attempts_in(events) == [1, 2, 3]
            errors = [one for one in events if isinstance(one, e.RunError)]
            told = [m.told_in(one.metadata).get("nextAttempt") for one in errors]
            assert told == [2, 3, None]
    assert {key for _, key in Never.runs} == {Never.runs[0][1]}


async def test_a_run_that_fails_by_itself_is_not_attempted_again() -> None:
    class Failing(Trying):
        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            self.runs.append((ctx.attempt, ctx.idempotency_key))
            yield "so far "
            raise AgentError("The model is out of order.")

    async with nodes(Failing) as (first, _):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("RUN_ERROR")
            await asyncio.sleep(20)
    assert len(Failing.runs) == 1


async def test_the_attempt_comes_before_what_waits_in_the_queue() -> None:
    class Ordered(Trying):
        texts: ClassVar[list[str]] = []

        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            self.texts.append(ctx.text)
            async for piece in super().run(ctx):
                yield piece
                if ctx.text != "one":
                    return

    async with nodes(Ordered) as (first, second):
        async with connect(first.app) as client:
            await client.say("one", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            await client.say("two", "m2")
            first.freeze()
            await client.reconnect(second.app)
            await client.say("three", "m3")
            for _ in range(3):
                await client.until("RUN_FINISHED", within=30)
            assert attempts_in(await log_of(second, client)) == [1, 2, 1, 1]
            kinds = [text for role, text in await shown(second, client) if role == "user"]
            assert kinds == ["one", "two", "three"]
    assert Ordered.texts == ["one", "one", "two", "three"]


async def test_an_attempt_begins_only_within_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(Trying):
        pass

    async with nodes(Late, attempt_window=60.0) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            first.freeze()
            later = now_ms() + 61_000
            monkeypatch.setattr(attempts, "now_ms", lambda: later)
            await client.reconnect(second.app)
            error = (await client.until("RUN_ERROR", within=30))["event"]
            assert "nextAttempt" not in error["metadata"]["agentws"]
            await log_of(second, client)
    assert len(Late.runs) == 1


@pytest.mark.parametrize("wrong", [0, -1, "3", True, None, 2.0])
async def test_an_agent_with_other_attempts_than_a_number_is_not_called_again(wrong: Any) -> None:
    class Wrong(Trying):
        attempts = wrong

    async with nodes(Wrong) as (first, second):
        async with connect(first.app) as client:
            await lost_until("RUN_ERROR", client, first, second)
            await log_of(second, client)
    assert len(Wrong.runs) == 1


@pytest.mark.parametrize("factory", ["hangs", "raises"])
async def test_a_factory_that_fails_does_not_keep_a_lost_run_open(factory: str) -> None:
    class Made(Trying):
        pass

    made: list[int] = []

    async def make() -> Agent:
        made.append(1)
        if len(made) == 2:
            if factory == "raises":
                raise RuntimeError("no agent today")
            await asyncio.sleep(1e6)
        return Made()

    async with nodes(make) as (first, second):
        async with connect(first.app) as client:
            await lost_until("RUN_ERROR", client, first, second)
            await log_of(second, client)


async def test_a_run_that_took_a_steering_message_is_not_attempted_again() -> None:
    class Steered(Trying):
        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            self.runs.append((ctx.attempt, ctx.idempotency_key))
            yield "begun"
            async for _ in ctx.steering():
                break
            yield "as you wish"
            await asyncio.sleep(1e6)

    async with nodes(Steered) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            await client.say("this way", "m2", overlap="steer")
            await client.until(partial(says, "as you wish"))
            first.freeze()
            await client.reconnect(second.app)
            error = (await client.until("RUN_ERROR", within=30))["event"]
            assert "nextAttempt" not in error["metadata"]["agentws"]
            await log_of(second, client)
    assert len(Steered.runs) == 1

"""Another attempt at an answer whose node was lost, where the agent allows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, ClassVar

import msgspec
import pytest

from agentws import Agent, AgentError, RunContext, tool
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.protocol.codec import decode_record, event_type
from agentws.protocol.fold import Fold
from agentws.protocol.message_run import MessageRun
from agentws.runs import attempts
from agentws.runs.ids import now_ms
from agentws.testing.connect import Client, Frame, connect
from agentws.testing.oracle import check_client, check_log, read_log

from .harness import accepted
from .nodes import Node, nodes


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


def attempts_in(events: list[e.Event]) -> list[int]:
    """The number of each run's attempt, in the log's order."""
    told = [m.told_in(one.metadata) for one in events if isinstance(one, e.RunStarted)]
    return [one.get("attempt", {"number": 1})["number"] for one in told]


def says(text: str, frame: Frame) -> bool:
    return text in str(frame)


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


async def test_a_cancel_that_came_while_the_owner_was_dead_ends_the_run_as_cancelled() -> None:
    class Stopped(Trying):
        pass

    async with nodes(Stopped) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            await client.until("TEXT_MESSAGE_CONTENT")
            first.freeze()
            await client.reconnect(second.app)
            await client.ask({"type": "cancel", "id": "c1"})
            end = (await client.until("RUN_FINISHED", within=30))["event"]
            assert end["outcome"] == {"type": "cancelled"}
            await asyncio.sleep(10)
            assert attempts_in(await log_of(second, client)) == [1]
    assert len(Stopped.runs) == 1


async def test_a_cancel_that_names_the_lost_run_stops_the_attempt_after_it() -> None:
    class Late(Trying):
        hangs = 2

    async with nodes(Late) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            lost = (await client.until("TEXT_MESSAGE_CONTENT"))["run"]
            first.freeze()
            await client.reconnect(second.app)
            await client.until(lambda frame: "attempt 2" in str(frame), within=30)
            await client.ask({"type": "cancel", "id": "c1", "run": lost})
            end = (await client.until("RUN_FINISHED", within=30))["event"]
            assert end["outcome"] == {"type": "cancelled"}
            await log_of(second, client)


async def test_a_cancel_before_the_next_attempt_begins_brings_the_first_text_back() -> None:
    class Waiting(Trying):
        pass

    async with nodes(Waiting, max_runs=1) as (first, second):
        async with connect(first.app) as client, connect(second.app) as other:
            # It has the only place for a run of the second node.
            await other.say("go", "b1")
            await other.until("TEXT_MESSAGE_CONTENT")
            await client.say("go", "m1")
            lost = (await client.until("TEXT_MESSAGE_CONTENT"))["run"]
            first.freeze()
            await client.reconnect(second.app)
            await client.until("message.accepted", within=30)
            await client.ask({"type": "cancel", "id": "c1", "run": lost})
            await client.until(lambda frame: bool(frame.get("event", {}).get("reload")))
            await log_of(second, client)
            async with connect(second.app, f"/ws/chat?session={client.session}") as late:
                await late.until("MESSAGES_SNAPSHOT")
                # The oracle compares it with the fold of the log.
                await log_of(second, late)
            assert await shown(second, client) == [("user", "go"), ("assistant", "attempt 1 ")]
    assert Waiting.runs[0][0] == Waiting.runs[1][0] == 1 and len(Waiting.runs) == 2


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


made: list[str] = []


@tool
async def book(seat: str) -> str:
    """Books a seat."""
    made.append(seat)
    if seat == "slow" and made.count("slow") == 1:
        await asyncio.sleep(1e6)
    return f"{seat} is booked ({len(made)})"


class Booking(Agent):
    attempts = 2

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        yield await ctx.call(book, seat="A")
        yield await ctx.call(book, seat="B")
        yield await ctx.call(book, seat="A")
        yield await ctx.call(book, seat="slow")


async def test_what_was_called_and_recorded_is_not_called_again() -> None:
    made.clear()
    async with nodes(Booking) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            for _ in range(3):
                await client.until("TOOL_CALL_RESULT")
            first.freeze()
            await client.reconnect(second.app)
            await client.until("RUN_FINISHED", within=30)
            events = await log_of(second, client)
            messages = await shown(second, client)
    # The call that was cut off has no result, so it is made again.
    assert made == ["A", "B", "A", "slow", "slow"]
    text = "".join(str(content) for role, content in messages if role == "assistant")
    assert text == "A is booked (1)B is booked (2)A is booked (3)slow is booked (5)"
    # The conversation in view has each call with its result.
    assert [content for role, content in messages if role == "tool"] == [
        "A is booked (1)",
        "B is booked (2)",
        "A is booked (3)",
        "slow is booked (5)",
    ]
    results = [one for one in events if isinstance(one, e.ToolCallResult)]
    repeated = [m.told_in(one.metadata).get("repeated", False) for one in results[4:]]
    assert repeated == [True, True, True, False]


class Asking(Agent):
    """Asks twice; is lost after the first answer, and let go after the second question."""

    attempts = 2
    calls: ClassVar[list[int]] = []

    async def run(self, ctx: RunContext) -> AsyncIterator[str]:
        self.calls.append(ctx.attempt)
        yield f"You want {await ctx.ask('What?')}. "
        yield await ctx.call(book, seat="A")
        if len(self.calls) == 1:
            await asyncio.sleep(1e6)
        yield f" When: {await ctx.ask('When?')}. Key {ctx.idempotency_key}"


async def test_what_was_asked_and_answered_is_not_asked_again() -> None:
    made.clear()
    Asking.calls = []
    async with nodes(Asking, park=0.5) as (first, second):
        async with connect(first.app) as client:
            await client.say("go", "m1")
            asked = await client.until("RUN_FINISHED")
            await answer(client, asked, "tea")
            await client.until(lambda frame: "is booked" in str(frame))
            await client.until("TEXT_MESSAGE_CONTENT")
            first.freeze()
            await client.reconnect(second.app)
            again = await client.until("RUN_FINISHED", within=30)
            assert again["event"]["outcome"]["interrupts"][0]["message"] == "When?"
            # It is not in memory any more, so it is called again for the answer.
            await asyncio.sleep(2)
            await answer(client, again, "now")
            await client.until("RUN_FINISHED", within=30)
            events = await log_of(second, client)
            texts = [str(text) for role, text in await shown(second, client) if role != "tool"]
    first_run = next(one for one in events if isinstance(one, e.RunStarted)).run_id
    assert "".join(texts) == (f"goYou want tea. A is booked (1) When: now. Key {first_run}")
    assert made == ["A"]
    assert Asking.calls == [1, 2, 2]


async def answer(client: Client, asked: Any, payload: str) -> None:
    interrupt = asked["event"]["outcome"]["interrupts"][0]["id"]
    await client.ask(
        {"type": "answer", "id": f"a-{payload}", "interrupt": interrupt, "payload": payload}
    )


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

"""Agents that misbehave: every run ends exactly once, and the log stays legal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agentws.agents.run_context import RunContext
from agentws.errors import AgentError
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.runs.writer import MAX_PENDING
from agentws.testing.agents import Gate, Hang, IgnoreCancel, Raise, Script, Sleep, Step, Yield
from agentws.testing.connect import connect
from agentws.testing.oracle import check_log

from .harness import talk

CALL = e.ToolCallStart("c", "look")


class Odd(BaseException):
    """Not even an Exception."""


ERRORS: dict[str, BaseException] = {
    "an exception": ValueError("secret-key-123"),
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "StopAsyncIteration": StopAsyncIteration(),
    "StopIteration": StopIteration(),
    "its own cancellation": asyncio.CancelledError(),
    "a BaseException": Odd("secret-key-123"),
    "a group": ExceptionGroup("many", [ValueError("secret-key-123")]),
    "a group of exits": BaseExceptionGroup("many", [SystemExit(3), KeyboardInterrupt()]),
    "a timeout": TimeoutError(),
    "RecursionError": RecursionError(),
    "MemoryError": MemoryError(),
    "OSError": OSError("secret-key-123"),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize("before", ["", "Hello "], ids=["before text", "after text"])
async def test_an_agent_that_raises_ends_its_run_with_an_error(
    error: BaseException, before: str
) -> None:
    steps: list[Step] = [*([before] if before else []), Raise(error)]
    async with talk(Script(named={"go": steps, "ok": ["fine"]})) as one:
        await one.client.say("go", "m1")
        terminal = await one.terminal()
        assert terminal["event"]["type"] == "RUN_ERROR"
        assert terminal["event"]["code"] == "agent_error"
        assert "secret" not in str(terminal)
        await one.client.say("ok", "m2")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"
        await one.check()
        assert (await one.texts())[-1] == "fine"


async def test_the_message_of_an_agent_error_is_shown_to_the_user() -> None:
    async with talk(Script(Raise(AgentError("Your card was declined.")))) as one:
        await one.client.say("go", "m1")
        event = (await one.terminal())["event"]
        assert (event["code"], event["message"]) == ("agent_error", "Your card was declined.")


async def test_a_run_whose_agent_hangs_ends_timed_out() -> None:
    async with talk(Script("so ", Hang()), run_timeout=20.0) as one:
        await one.client.say("go", "m1")
        event = (await one.client.until("RUN_ERROR", within=30))["event"]
        assert event["code"] == "timed_out"
        assert event["metadata"] == {"agentws": {"retryable": True}}
        await one.check()
        assert await one.texts() == ["so "]


async def test_an_agent_that_ignores_its_cancellation_is_abandoned() -> None:
    gate = Gate()
    stubborn = IgnoreCancel(gate)
    script = Script(named={"go": ["so ", stubborn, "too late"], "next": ["fine"]})
    async with talk(script) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.ask({"type": "cancel", "id": "c1"})
        event = (await one.terminal())["event"]
        assert event["outcome"] == {"type": "cancelled"}
        assert stubborn.swallowed == 1
        assert one.gateway.stats()["zombie_agents"] == 1
        await one.client.say("next", "m2")
        assert await one.client.answer() == "fine"
        gate.open()
        await asyncio.sleep(1)
        assert one.gateway.stats()["zombie_agents"] == 0
        await one.check()
        assert await one.texts() == ["so ", "fine"]


async def test_an_abandoned_agent_holds_no_run_slot() -> None:
    gate = Gate()
    script = Script(named={"go": [IgnoreCancel(gate)], "next": ["fine"]})
    async with talk(script, max_runs=1) as one:
        await one.client.say("go", "m1")
        await gate.reached()
        await one.client.ask({"type": "cancel", "id": "c1"})
        await one.terminal()
        await one.client.say("next", "m2")
        assert await one.client.answer() == "fine"
        gate.open()


async def test_an_agent_that_ignores_its_timeout_is_abandoned() -> None:
    gate = Gate()
    async with talk(Script(IgnoreCancel(gate), "late"), run_timeout=3.0) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["code"] == "timed_out"
        gate.open()
        await asyncio.sleep(1)
        await one.check()


async def test_output_after_a_cancel_is_dropped() -> None:
    async def stubborn(ctx: RunContext) -> AsyncIterator[str]:
        yield "before "
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            yield "after"
            yield "after that"

    async with talk(stubborn) as one:
        await one.client.say("go", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        await one.client.ask({"type": "cancel", "id": "c1"})
        assert (await one.terminal())["event"]["outcome"] == {"type": "cancelled"}
        await one.check()
        assert await one.texts() == ["before "]


async def test_a_swallowed_cancellation_does_not_cancel_the_next_run() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        if ctx.text == "first":
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
        except* ValueError:
            yield "contained"

    async def fail() -> None:
        raise ValueError

    async with talk(agent) as one:
        await one.client.say("first", "m1")
        await one.client.say("second", "m2")
        await one.client.ask({"type": "cancel", "id": "c1", "message": "m1"})
        await one.terminal()
        assert await one.client.answer() == "contained"


class Closes:
    """An iterator whose ``aclose`` raises."""

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self._said = False

    def __aiter__(self) -> Closes:
        return self

    async def __anext__(self) -> str:
        if self._said:
            raise StopAsyncIteration
        self._said = True
        return "said"

    async def aclose(self) -> None:
        self._close()


def _raise(error: BaseException) -> Callable[[], None]:
    def close() -> None:
        raise error

    return close


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), Odd()], ids=repr)
async def test_a_run_ends_although_its_generator_does_not_close(error: BaseException) -> None:
    async def never(ctx: RunContext) -> AsyncIterator[str]:
        yield ""

    class Agent(Script):
        def __call__(self) -> Any:
            agent = super().__call__()
            agent.run = lambda ctx: Closes(_raise(error))  # type: ignore[method-assign]
            return agent

    async with talk(Agent()) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        await one.check()
        assert await one.texts() == ["said"]


async def test_an_agent_may_await_in_its_cleanup() -> None:
    cleaned = []

    async def careful(ctx: RunContext) -> AsyncIterator[str]:
        try:
            yield "working"
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.5)
            cleaned.append(ctx.run_id)

    async with talk(careful, cancel_grace=1.0) as one:
        await one.client.say("go", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        await one.client.ask({"type": "cancel", "id": "c1"})
        await one.terminal()
        assert len(cleaned) == 1
        assert one.gateway.stats()["zombie_agents"] == 0


@pytest.mark.parametrize(
    "terminals",
    [
        [e.RunFinished("x", "y", {"a": 1}), e.RunError("late", "late")],
        [e.RunError("first", "mine"), e.RunFinished("x", "y")],
        [e.RunFinished("x", "y"), "text"],
    ],
    ids=["finished, failed", "failed, finished", "finished, text"],
)
async def test_only_the_first_terminal_event_of_an_agent_counts(terminals: list[Any]) -> None:
    async with talk(Script("text", Yield(*terminals))) as one:
        await one.client.say("go", "m1")
        event = (await one.terminal())["event"]
        assert event["type"] == terminals[0].__struct_config__.tag
        await one.check()
        assert await one.texts() == ["text"]


async def test_a_terminal_event_gets_the_ids_of_its_run() -> None:
    async with talk(Script(e.RunFinished("x", "y", {"a": 1}))) as one:
        await one.client.say("go", "m1")
        terminal = await one.terminal()
        assert terminal["event"]["runId"] == terminal["run"]
        assert terminal["event"]["threadId"] == one.session
        assert terminal["event"]["result"] == {"a": 1}


async def test_changing_an_event_after_its_yield_has_no_effect() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[e.Event]:
        state = {"step": 1}
        yield e.StateSnapshot(state)
        state["step"] = 2

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        assert {"type": "STATE_SNAPSHOT", "snapshot": {"step": 1}} in one.client.events()
        await one.check()


@pytest.mark.parametrize("piece", ["x" * 500, "x" * 400_000], ids=["pieces", "one piece"])
async def test_a_run_that_exceeds_its_size_limit_ends_too_large(piece: str) -> None:
    async with talk(Script(Yield(*[piece] * 1000)), max_run_size=100_000) as one:
        await one.client.say("go", "m1")
        event = (await one.terminal())["event"]
        assert (event["type"], event["code"]) == ("RUN_ERROR", "too_large")
        await one.check()
        assert sum(len(record.data) for record in await one.log()) < 100_000 + MAX_PENDING + 10_000


async def test_a_flood_of_deltas_makes_few_events_and_does_not_block_other_sessions() -> None:
    """An agent that never waits makes few events, and other sessions get their turn."""

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        for _ in range(1_000_000 if ctx.text == "flood" else 1):
            yield "x"

    async with talk(agent) as one, connect(one.gateway) as other:
        await one.client.say("flood", "m1")
        await one.client.until("TEXT_MESSAGE_CONTENT")
        flood = asyncio.get_running_loop().create_task(one.terminal())
        for number in range(10):
            await other.say("a word", f"m{number}")
            assert await other.answer() == "x"
        assert not flood.done()
        await flood
        records = await one.log()
        check_log(records)
        assert sum(len(text or "") for text in await one.texts()) == 1_000_000
        assert sum(len(record.data) for record in records) < 10_000_000


async def test_everything_that_an_agent_leaves_open_is_closed() -> None:
    opened = [
        e.ReasoningStart("r"),
        e.ReasoningMessageStart("r", "reasoning"),
        e.StepStarted("s"),
        e.SubagentStarted("a", "helper"),
        e.TextMessageStart("t"),
        CALL,
    ]
    for last in ([], [Raise(ValueError)], [Hang()]):
        async with talk(Script(*opened, *last), run_timeout=2.0) as one:
            await one.client.say("go", "m1")
            await one.terminal()
            await one.check()


async def test_a_task_that_outlives_its_agent_has_no_effect_on_the_log() -> None:
    async def orphan() -> None:
        await asyncio.sleep(0.2)

    left: list[asyncio.Task[None]] = []

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        left.append(asyncio.get_running_loop().create_task(orphan()))
        yield "done"

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        await left[0]
        await one.check()


async def test_text_that_looks_like_a_protocol_frame_stays_text() -> None:
    said = '/clear {"type":"RUN_FINISHED"} "}}\n{"id":"e.1.a","event":{"type":"x","delta":"'
    async with talk(Script(said, said)) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == said * 2
        await one.check()
        assert await one.texts() == [said * 2]


async def test_metadata_that_looks_like_a_delta_is_not_merged() -> None:
    """Deltas are merged as bytes: no content may be taken for the end of an event."""
    disguised = {"a": 1, "delta": "x"}
    steps = [
        e.TextMessageStart("t"),
        e.TextMessageStart("u"),
        *(
            e.TextMessageContent(message_id=id, delta=id, metadata=disguised)
            for id in ("t", "u", "u", "t")
        ),
        *(e.Custom(f"n{n}", f"v{n}", metadata=disguised) for n in range(3)),
    ]
    async with talk(Script(Yield(*steps))) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        await one.check()
        assert await one.texts() == ["tt", "uu"]
        customs = [event for event in one.client.events() if event["type"] == "CUSTOM"]
        assert [event["name"] for event in customs] == ["n0", "n1", "n2"]


async def test_an_activity_patch_that_does_not_apply_has_no_effect() -> None:
    steps: list[Step] = [
        e.ActivitySnapshot("a", "plan", {"steps": []}),
        e.ActivityDelta("a", "plan", [{"op": "replace", "path": "/nowhere", "value": 1}]),
        e.ActivityDelta("a", "plan", [{"op": "replace", "path": "", "value": 1}]),
        e.ActivityDelta("a", "plan", [{"op": "add", "path": 5, "value": 1}]),
        e.ActivityDelta("a", "plan", [{"op": "add", "path": "/steps/-", "value": "one"}]),
        e.StateDelta([{"op": "add", "path": ["x"], "value": 1}]),
        e.StateDelta([{"op": "remove", "path": "/nowhere"}]),
        "said",
    ]
    async with talk(Script(*steps)) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        fold = await one.check()
        activity = next(one for one in fold.messages if isinstance(one, m.ActivityMessage))
        assert activity.content == {"steps": ["one"]}
        await one.client.reconnect()
        assert (await one.client.receive())["resume"] == "replay"


async def test_an_agent_may_sleep_between_its_deltas() -> None:
    async with talk(Script(Sleep(1), "slow ", Sleep(1), "answer")) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "slow answer"
        await one.check()

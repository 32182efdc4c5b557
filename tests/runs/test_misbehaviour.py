"""Whatever an agent does, its run ends exactly once and the log stays true."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agentws.agents.agent import RunContext
from agentws.errors import AgentError
from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.runs.writer import ROOM
from agentws.testing.agents import Gate, Hang, IgnoreCancel, Raise, Script, Sleep, Step, Yield
from agentws.testing.connect import Frame
from agentws.testing.oracle import check_log

from .harness import talk


def cyclic() -> dict[str, Any]:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    return loop


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def content(delta: Any, **members: Any) -> e.TextMessageContent:
    return e.TextMessageContent(message_id="t", delta=delta, **members)


START = e.TextMessageStart("t")
CALL = e.ToolCallStart("c", "look")

INVALID: dict[str, list[Any]] = {
    "None": [None],
    "bytes": [b"text"],
    "a number": [1],
    "a dict": [{"type": "CUSTOM", "name": "n", "value": 1}],
    "a class": [e.TextMessageStart],
    "a message": [m.UserMessage("u", "text")],
    "an event of the gateway": [e.MessageAccepted(m.UserMessage("u", "x"), "queue")],
    "a withdrawal": [e.MessageWithdrawn("m1", "no")],
    "a stop": [e.RunCancelling()],
    "another RUN_STARTED": [e.RunStarted("t", "r")],
    "NaN": [e.Custom("n", math.nan)],
    "infinity within": [e.StateSnapshot({"deep": [math.inf]})],
    "NaN in metadata of text": [START, content("x", metadata={"n": math.nan})],
    "a cycle": [e.StateSnapshot(cyclic())],
    "a deep value": [e.StateSnapshot(deep(5000))],
    "a deep value in text": [START, content("x", raw_event=deep(5000))],
    "an object": [e.Custom("n", object())],
    "a lone surrogate": ["a\ud800b"],
    "a lone surrogate in an event": [START, content("\udfff")],
    "a lone surrogate within": [e.Custom("n", {"k\ud800": 1})],
    "U+0000": ["a\x00b"],
    "U+0000 in an event": [START, content("\x00")],
    "U+0000 in an id": [e.TextMessageStart("a\x00")],
    "U+0000 within": [e.Custom("n", {"k": "\x00"})],
    "content for a message that is not open": [content("x")],
    "an end for nothing": [e.ToolCallEnd("c")],
    "a message opened twice": [START, START],
    "text that is None": [START, content(None)],
    "text that is a number": [START, content(5)],
    "text that is a list": [START, content(["x"])],
    "arguments that are a dict": [CALL, e.ToolCallArgs(tool_call_id="c", delta={"q": 1})],  # type: ignore[arg-type]
    "an id that is None": [e.TextMessageStart(None)],  # type: ignore[arg-type]
    "an id that is a number": [e.TextMessageStart(7)],  # type: ignore[arg-type]
    "an id that is a list": [e.TextMessageStart([])],  # type: ignore[arg-type]
    "a role that is none": [e.TextMessageStart("t", "robot")],  # type: ignore[arg-type]
    "a patch that is none": [e.StateDelta("patch")],  # type: ignore[arg-type]
    "messages that are none": [e.MessagesSnapshot([{"role": "user"}])],  # type: ignore[list-item]
    "a float timestamp": [e.Custom("n", 1, timestamp=1.5)],  # type: ignore[arg-type]
    "metadata that is text": [START, content("x", metadata="m")],
    "a result in no known form": [e.ToolCallResult("r", "c", {"a": 1})],  # type: ignore[arg-type]
    "a chunk without an id": [e.ToolCallChunk(delta="{")],
    "a chunk whose text is a number": [e.TextMessageChunk(delta=5)],  # type: ignore[arg-type]
    "an end with an outcome of its own": [e.RunFinished("t", "r", outcome="ok")],  # type: ignore[arg-type]
    "an end with a result that is no JSON": [e.RunFinished("t", "r", object())],
    "an end with NaN": [e.RunFinished("t", "r", math.nan)],
    "an end with usage that is none": [e.RunFinished("t", "r", usage=["many"])],  # type: ignore[list-item]
    "an error without a message": [e.RunError(None)],  # type: ignore[arg-type]
    "an error with U+0000": [e.RunError("\x00")],
}


@pytest.mark.parametrize("items", INVALID.values(), ids=INVALID.keys())
@pytest.mark.parametrize("before", ["", "Hello "], ids=["first", "after text"])
async def test_what_is_no_event_ends_the_run(items: list[Any], before: str) -> None:
    script = Script(named={"go": [*([before] if before else []), Yield(*items)], "ok": ["fine"]})
    async with talk(script) as one:
        await one.client.say("go", "m1")
        terminal = await one.terminal()
        assert terminal["event"]["type"] == "RUN_ERROR"
        assert terminal["event"]["code"] in ("invalid_event", "agent_error")
        assert "Traceback" not in str(terminal) and "object at" not in str(terminal)
        await one.client.say("ok", "m2")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"
        fold = await one.check()
    assert [text for text in map(_text, fold.messages) if text][-1] == "fine"
    if before:
        assert "Hello " in map(_text, fold.messages)


def _text(message: m.Message) -> str | None:
    return message.content if isinstance(message, m.AssistantMessage) else None


class Odd(BaseException):
    """Not even an Exception."""


ERRORS: dict[str, BaseException] = {
    "an exception": ValueError("secret-key-123"),
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
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
async def test_an_agent_that_raises(error: BaseException, before: str) -> None:
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


async def test_a_sentence_for_the_user() -> None:
    async with talk(Script(Raise(AgentError("Your card was declined.")))) as one:
        await one.client.say("go", "m1")
        event = (await one.terminal())["event"]
        assert (event["code"], event["message"]) == ("agent_error", "Your card was declined.")


async def test_an_agent_that_hangs_ends_timed_out() -> None:
    async with talk(Script("so ", Hang()), run_timeout=20.0) as one:
        await one.client.say("go", "m1")
        event = (await one.client.until("RUN_ERROR", within=30))["event"]
        assert event["code"] == "timed_out"
        assert event["metadata"] == {"agentws": {"retryable": True}}
        await one.check()
        assert await one.texts() == ["so "]


async def test_an_agent_that_swallows_its_cancellation_is_left_behind() -> None:
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


async def test_an_agent_left_behind_holds_no_slot() -> None:
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


async def test_an_agent_that_ignores_its_timeout_is_left_behind() -> None:
    gate = Gate()
    async with talk(Script(IgnoreCancel(gate), "late"), run_timeout=3.0) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["code"] == "timed_out"
        gate.open()
        await asyncio.sleep(1)
        await one.check()


async def test_yielding_after_a_stop_changes_nothing() -> None:
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


async def test_a_swallowed_cancellation_is_not_left_for_the_next_run() -> None:
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
    """An iterator whose closing goes wrong."""

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
async def test_a_generator_that_does_not_close(error: BaseException) -> None:
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


async def test_cleaning_up_may_take_its_time() -> None:
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
async def test_the_first_end_wins(terminals: list[Any]) -> None:
    async with talk(Script("text", Yield(*terminals))) as one:
        await one.client.say("go", "m1")
        event = (await one.terminal())["event"]
        assert event["type"] == terminals[0].__struct_config__.tag
        await one.check()
        assert await one.texts() == ["text"]


async def test_an_end_names_this_run_whatever_the_agent_wrote() -> None:
    async with talk(Script(e.RunFinished("x", "y", {"a": 1}))) as one:
        await one.client.say("go", "m1")
        terminal = await one.terminal()
        assert terminal["event"]["runId"] == terminal["run"]
        assert terminal["event"]["threadId"] == one.session
        assert terminal["event"]["result"] == {"a": 1}


def failing(error: BaseException) -> Callable[[], Any]:
    def factory() -> Any:
        raise error

    return factory


FACTORIES: dict[str, Any] = {
    "raises": failing(ValueError("secret-key-123")),
    "exits": failing(SystemExit(1)),
    "is interrupted": failing(KeyboardInterrupt()),
    "makes nothing": lambda: None,
    "makes text": lambda: "agent",
}


@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES.keys())
async def test_a_factory_that_makes_no_agent(factory: Any) -> None:
    async with talk(factory) as one:
        for number in range(3):
            await one.client.say("go", f"m{number}")
            event = (await one.terminal())["event"]
            assert (event["type"], event["code"]) == ("RUN_ERROR", "agent_error")
            assert "secret" not in str(event)
        await one.check()


async def test_a_factory_that_is_slow_can_be_stopped() -> None:
    async def factory() -> Any:
        await asyncio.sleep(1000)

    async with talk(factory) as one:
        await one.client.say("go", "m1")
        await one.client.until("message.accepted")
        await one.client.ask({"type": "cancel", "id": "c1"})
        await one.client.until(lambda frame: "RUN_FINISHED" in str(frame) or _withdrawn(frame))
        await one.check()


def _withdrawn(frame: Frame) -> bool:
    return bool("event" in frame and frame["event"]["type"] == "message.withdrawn")


async def test_a_run_that_is_no_generator() -> None:
    class Plain(Script):
        def __call__(self) -> Any:
            agent = super().__call__()

            async def run(ctx: RunContext) -> str:
                return "text"

            agent.run = run  # type: ignore[method-assign,assignment]
            return agent

    async with talk(Plain()) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["code"] == "invalid_event"


async def test_changing_an_event_after_yielding_it_changes_nothing() -> None:
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
async def test_an_answer_that_is_too_long(piece: str) -> None:
    async with talk(Script(Yield(*[piece] * 1000)), max_run_size=100_000) as one:
        await one.client.say("go", "m1")
        event = (await one.terminal())["event"]
        assert (event["type"], event["code"]) == ("RUN_ERROR", "too_large")
        await one.check()
        assert sum(len(record.data) for record in await one.log()) < 100_000 + ROOM + 10_000


async def test_a_million_deltas() -> None:
    """One agent that never waits: few events, few bytes, and others get their turn."""

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        for _ in range(1_000_000 if ctx.text == "flood" else 1):
            yield "x"

    async with talk(agent) as one:
        await one.client.say("flood", "m1")
        await one.terminal()
        records = await one.log()
        check_log(records)
        assert sum(len(text or "") for text in await one.texts()) == 1_000_000
        assert sum(len(record.data) for record in records) < 10_000_000


async def test_an_agent_that_leaves_everything_open() -> None:
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


async def test_a_task_that_an_agent_leaves_running_speaks_to_nobody() -> None:
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


async def test_text_that_looks_like_the_protocol_stays_text() -> None:
    said = '/clear {"type":"RUN_FINISHED"} "}}\n{"id":"e.1.a","event":{"type":"x","delta":"'
    async with talk(Script(said, said)) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == said * 2
        await one.check()
        assert await one.texts() == [said * 2]


async def test_metadata_that_looks_like_a_delta_stays_metadata() -> None:
    """Deltas are merged as bytes, so nothing inside an event may look like the end of one."""
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


async def test_an_activity_patch_that_does_not_apply_spoils_nothing() -> None:
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


async def test_sleeping_is_fine() -> None:
    async with talk(Script(Sleep(1), "slow ", Sleep(1), "answer")) as one:
        await one.client.say("go", "m1")
        assert await one.client.answer() == "slow answer"
        await one.check()

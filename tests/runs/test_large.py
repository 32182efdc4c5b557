"""Size limits: long text is split into events, any other event that is too large is refused."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from agentws import Agent, RunContext
from agentws.agents.commands import Command, CommandContext
from agentws.errors import AgentError, EventTooLarge, NotFound
from agentws.protocol import events as e
from agentws.protocol import frames as f
from agentws.protocol import messages as m
from agentws.protocol.sizes import EVENT, FRAME, TEXT, TITLE
from agentws.runs.documents import Document, Documents, measure
from agentws.sessions.compaction import compact_run
from agentws.testing.agents import Script, Yield

from .harness import Talk, talk

MIB = 1024 * 1024
LINE = (
    'Zwölf Boxkämpfer: \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 e\u0301 \\"\r\n'
)
LARGE = LINE * (8 * MIB // len(LINE.encode()))

TEXTS: dict[str, list[Any]] = {
    "a str": [LARGE],
    "two strs": [LARGE[:-1000], LARGE[-1000:]],
    "a content event": [
        e.TextMessageStart("t"),
        e.TextMessageContent(message_id="t", delta=LARGE),
        e.TextMessageEnd("t"),
    ],
    "a chunk": [e.TextMessageChunk("t", delta=LARGE)],
    "reasoning": [
        e.ReasoningMessageStart("t", "reasoning"),
        e.ReasoningMessageContent(message_id="t", delta=LARGE),
        e.ReasoningMessageEnd("t"),
    ],
    "a reasoning chunk": [e.ReasoningMessageChunk("t", delta=LARGE)],
    "arguments": [
        e.ToolCallStart("c", "look"),
        e.ToolCallArgs(tool_call_id="c", delta=LARGE),
        e.ToolCallEnd("c"),
    ],
    "a call's chunk": [e.ToolCallChunk("c", "look", None, LARGE)],
    "text with members of its own": [
        e.TextMessageStart("t"),
        e.TextMessageContent(
            message_id="t", delta=LARGE, metadata={"k": "v"}, raw_event={"delta": 1}
        ),
    ],
}


@pytest.mark.parametrize("items", TEXTS.values(), ids=TEXTS.keys())
async def test_long_text_is_split_into_events_of_64_kib(items: list[Any]) -> None:
    async with talk(Script(Yield(*items)), max_run_size=64 * MIB) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"
        log = await one.log()
        await one.check()
    deltas = [event["delta"] for event in one.client.events() if "delta" in event]
    assert "".join(deltas) == LARGE
    assert len(deltas) < 1.2 * len(LARGE.encode()) / TEXT + 20
    frames = [json.dumps(frame, ensure_ascii=False).encode() for frame in one.client.frames]
    assert max(map(len, frames)) < 1.1 * TEXT
    assert max(len(record.data) for record in log) <= TEXT
    for delta in deltas[:-1]:
        assert not delta.endswith(("\r", "\u200d", "\\" * 2)) or delta[-1] == "\\"


def custom(size: int) -> e.Custom:
    """An event whose frame has ``size`` bytes or a few more."""
    return e.Custom("n", "x" * size)


OTHERS: dict[str, Any] = {
    "TOOL_CALL_RESULT": e.ToolCallResult("r", "c", "x" * EVENT),
    "STATE_SNAPSHOT": e.StateSnapshot({"k": "x" * EVENT}),
    "STATE_DELTA": e.StateDelta([{"op": "add", "path": "/k", "value": "x" * EVENT}]),
    "MESSAGES_SNAPSHOT": e.MessagesSnapshot([m.UserMessage("u", "x" * EVENT)]),
    "ACTIVITY_SNAPSHOT": e.ActivitySnapshot("a", "plan", {"k": "x" * EVENT}),
    "RAW": e.Raw("x" * EVENT),
    "CUSTOM": custom(EVENT),
    "TEXT_MESSAGE_START": e.TextMessageStart("x" * EVENT),
    "STEP_STARTED": e.StepStarted("x" * EVENT),
    "RUN_FINISHED": e.RunFinished("t", "r", "x" * EVENT),
    "RUN_ERROR": e.RunError("x" * EVENT),
    "notice.posted": e.NoticePosted("x" * EVENT, "info"),
    "session.updated": e.SessionUpdated("x" * EVENT),
    "TEXT_MESSAGE_CHUNK": e.TextMessageChunk("x" * 40_000, delta="x" * 40_000),
    "8 MB of it": custom(8 * MIB),
}


@pytest.mark.parametrize(("type", "item"), OTHERS.items(), ids=OTHERS.keys())
async def test_any_other_event_that_is_too_large_ends_its_run(type: str, item: Any) -> None:
    script = Script(named={"go": ["Hello ", Yield(item)], "ok": ["fine"]})
    async with talk(script) as one:
        await one.client.say("go", "m1")
        terminal = (await one.terminal())["event"]
        assert (terminal["type"], terminal["code"]) == ("RUN_ERROR", "too_large")
        assert terminal["metadata"] == {"agentws": {"retryable": False}}
        if type.isupper():
            assert type in terminal["message"]
            assert re.search(r"\d{5}", terminal["message"]), "without the limit"
        await one.client.say("ok", "m2")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"
        await one.check()
        assert await one.texts() == ["Hello ", "fine"]
        assert max(len(record.data) for record in await one.log()) <= EVENT


@pytest.mark.parametrize("limit", [5000, EVENT, 2 * MIB])
async def test_the_size_limit_of_an_event_is_a_setting(limit: int) -> None:
    script = Script(named={"fits": [Yield(custom(limit - 200))], "not": [Yield(custom(limit))]})
    async with talk(script, max_event_size=limit) as one:
        await one.client.say("fits", "m1")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"
        await one.client.say("not", "m2")
        assert (await one.terminal())["event"]["code"] == "too_large"


def patches(op: str, count: int) -> list[Any]:
    return [
        e.StateDelta([{"op": op, "path": f"/{number}", "value": "x" * 1000}])
        for number in range(count)
    ]


GROWING: dict[str, list[Any]] = {
    "by small patches": [e.StateSnapshot({}), *patches("add", 300)],
    "from nothing": patches("add", 300),
    "by copies": [
        e.StateSnapshot({"a": "x" * 1000}),
        *(
            e.StateDelta([{"op": "copy", "from": "", "path": f"/copy{number}"}])
            for number in range(12)
        ),
    ],
    "by copies of one text": [
        e.StateSnapshot({"a": "x" * 200_000, "b": []}),
        e.StateDelta([{"op": "copy", "from": "/a", "path": "/b/-"}] * 1000),
    ],
    "an activity": [
        e.ActivitySnapshot("a", "plan", {}),
        *(
            e.ActivityDelta("a", "plan", [{"op": "add", "path": f"/{n}", "value": "x" * 1000}])
            for n in range(300)
        ),
    ],
}


@pytest.mark.parametrize("items", GROWING.values(), ids=GROWING.keys())
async def test_a_value_that_patches_make_too_large_ends_the_run(items: list[Any]) -> None:
    async with talk(Script(named={"go": [Yield(*items)], "ok": ["fine"]})) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["code"] == "too_large"
        await one.check()
        (session,) = list(one.gateway.sessions)
        assert len(msgspec.json.encode(session.outline.state)) <= EVENT


async def test_a_small_state_can_be_patched_any_number_of_times() -> None:
    """A value is measured only where the sum of its patches may exceed the limit."""
    items = [e.StateSnapshot({"k": ""}), *(patch("x" * 1000) for _ in range(1000))]
    async with talk(Script(Yield(*items)), max_event_size=20_000) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"


def patch(value: str) -> e.StateDelta:
    return e.StateDelta([{"op": "replace", "path": "/k", "value": value}])


async def test_the_state_of_an_earlier_run_counts_for_the_limit() -> None:
    script = Script(
        named={
            "one": [Yield(e.StateSnapshot({"a": "x" * 9000}))],
            "two": [Yield(e.StateDelta([{"op": "add", "path": "/b", "value": "x" * 2000}]))],
            "three": [Yield(e.StateDelta([{"op": "add", "path": "/c", "value": "x" * 100}]))],
        }
    )
    async with talk(script, max_event_size=10_000) as one:
        for name, ends in (("one", "FINISHED"), ("two", "ERROR"), ("three", "FINISHED")):
            await one.client.say(name, f"m-{name}")
            assert (await one.terminal())["event"]["type"] == f"RUN_{ends}"


def test_a_refused_patch_leaves_its_value_unchanged() -> None:
    documents = Documents(max_event_size=1127)
    documents.admit(e.ActivitySnapshot("a", "x", {"a": "x" * 900}), 910)
    with pytest.raises(EventTooLarge):
        documents.admit(_activity_patch("x" * 200), 300)
    documents.admit(_activity_patch("x"), 60)


def test_a_value_that_is_too_large_already_may_become_smaller() -> None:
    document = Document({"a": "x" * 2000, "b": "y" * 10}, largest=1127)
    remove = [{"op": "remove", "path": "/b"}]
    document.change({"a": "x" * 2000}, remove, 30, kind="patch", name="it")
    with pytest.raises(EventTooLarge):
        document.change({"a": "x" * 2001}, [], 1, kind="patch", name="it")
    copy = [{"op": "copy", "from": "/a", "path": ""}]
    with pytest.raises(EventTooLarge):
        document.change("x" * 2000, copy, 30, kind="patch", name="it")
    document.change({"a": ""}, [], 1, kind="patch", name="it")


def _activity_patch(value: str) -> e.ActivityDelta:
    return e.ActivityDelta("a", "x", [{"op": "add", "path": "/b", "value": value}])


@pytest.mark.parametrize("value", [None, 1.5, "é\n", {"k": [1, "x", {"é": None}]}, [], ["x"] * 50])
def test_the_measured_size_is_that_of_the_json(value: Any) -> None:
    size = len(msgspec.json.encode(value))
    assert measure(value, size) == size
    assert measure(value, 10**6) == size


def test_a_value_with_many_copies_is_measured_without_encoding_it() -> None:
    value: Any = "x" * 1000
    for _ in range(40):
        value = [value, value]
    assert 10**6 < measure(value, 10**6) < 2 * 10**6


# What an agent raises


@pytest.mark.parametrize("sentence", ["x" * MIB, "\U0001f600" * 100_000, "a\ud800b", "a\x00b"])
async def test_a_run_ends_with_an_error_whose_message_cant_be_encoded(sentence: str) -> None:
    class Failing(Agent):
        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            yield "Hello"
            raise AgentError(sentence)

    async with talk(Failing) as one:
        await one.client.say("go", "m1")
        terminal = (await one.terminal())["event"]
        assert terminal["code"] == "agent_error"
        assert 0 < len(terminal["message"]) <= 4000
        assert terminal["message"][0] == sentence[0]
        await one.check()


# Other ways into a log


async def test_pushes_and_broadcasts_that_are_too_large_are_refused() -> None:
    async with talk(Script("fine")) as one:
        handle = one.gateway.session(one.session)
        for large in (handle.push("x" * EVENT), one.gateway.broadcast("x" * EVENT)):
            with pytest.raises(EventTooLarge):
                await large
        with pytest.raises(EventTooLarge):
            await handle.push("small", metadata={"k": "x" * EVENT})
        await handle.push("x" * (EVENT - 400))
        posted = await one.client.until("notice.posted")
        assert len(posted["event"]["content"]) == EVENT - 400
        with pytest.raises(NotFound):
            await one.gateway.session("another-session-here").push("x")


async def test_a_title_or_metadata_that_is_too_large_is_refused() -> None:
    async with talk(Script("fine")) as one:
        (session,) = list(one.gateway.sessions)
        with pytest.raises(EventTooLarge):
            await one.gateway.change_session(session, title="new", metadata={"k": "x" * EVENT})
        assert (await one.gateway.store.info(session.id)).title is None
        assert await one.log() == []


async def test_a_title_that_is_too_large_for_a_snapshot_is_refused() -> None:
    named = e.SessionUpdated("x" * (TITLE - 2))
    script = Script(named={"short": [Yield(named)], "long": [Yield(e.SessionUpdated("x" * TITLE))]})
    async with talk(script) as one:
        (session,) = list(one.gateway.sessions)
        with pytest.raises(EventTooLarge, match="title"):
            await one.gateway.change_session(session, title="x" * TITLE, metadata=None)
        await one.client.say("short", "m1")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"
        await one.client.say("long", "m2")
        assert (await one.terminal())["event"]["code"] == "too_large"
        assert session.info.title == "x" * (TITLE - 2)


async def test_a_message_that_is_too_large_for_its_run_started_is_refused() -> None:
    """The frame of RUN_STARTED is larger than that of message.accepted."""
    async with talk(Script("fine"), max_message_size=MIB) as one:
        for length in range(EVENT - 600, EVENT, 25):
            if (await one.client.say("x" * length, f"m{length}"))["type"] == "error":
                break
            await one.terminal()
        else:
            pytest.fail("nothing is too large")
        assert max(len(record.data) + FRAME for record in await one.log()) <= EVENT


@pytest.mark.parametrize("sentence", ["x" * MIB, "a\ud800b", "a\x00b"])
async def test_a_command_is_refused_with_an_error_whose_message_cant_be_encoded(
    sentence: str,
) -> None:
    async def fail(context: CommandContext, args: str) -> str:
        raise AgentError(sentence)

    class Failing(Agent):
        def commands(self) -> list[Command]:
            return [Command("fail", "Fails", fail)]

        async def run(self, ctx: RunContext) -> AsyncIterator[str]:
            yield "fine"

    async with talk(Failing) as one:
        refused = await one.client.say("/fail", "m1")
        assert (refused["type"], refused["code"]) == ("error", "agent_error")
        assert 0 < len(refused["message"]) <= 4000
        await one.client.say("Hello", "m2")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"


async def test_a_message_that_is_too_large_is_refused_and_the_connection_stays_open() -> None:
    async with talk(Script("fine"), max_message_size=MIB) as one:
        refused = await one.client.say("x" * EVENT, "m1")
        assert (refused["type"], refused["code"]) == ("error", "too_large")
        assert refused["reply"] == "m1"
        await one.client.say("Hello", "m2")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"


async def test_answers_that_are_too_large_for_one_event_are_refused() -> None:
    asked = [m.Interrupt(f"i{number}", "input_required") for number in range(5)]
    asking = e.RunFinished("t", "r", outcome=m.InterruptOutcome(asked))
    script = Script(named={"go": [Yield(asking)], "": ["fine"]})
    async with talk(script, max_event_size=100_000) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        for number, fits in enumerate((True, False)):
            reply = await answer(one, f"i{number}", "x" * 60_000)
            assert reply["type"] == ("accepted" if fits else "error"), reply
        assert reply["code"] == "too_large"
        for number in range(1, 5):
            await answer(one, f"i{number}", "short")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"
        assert max(len(record.data) for record in await one.log()) <= 100_000


async def answer(one: Talk, interrupt: str, payload: str) -> Any:
    frame = f.Answer(id=f"a-{interrupt}-{len(payload)}", interrupt=interrupt, payload=payload)
    await one.client.send(f.encode_frame(frame).decode())
    return await one.client.until(lambda said: said.get("reply") == frame.id)


async def test_questions_that_are_too_large_for_one_event_end_their_run() -> None:
    def asking(number: int) -> e.RunFinished:
        question = m.Interrupt(f"i{number}", "input_required", "x" * 40_000)
        return e.RunFinished("t", "r", outcome=m.InterruptOutcome([question]))

    script = Script(named={"m1": [Yield(asking(1))], "m2": [Yield(asking(2))]})
    async with talk(script) as one:
        await one.client.say("m1", "m1")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"
        await one.client.say("m2", "m2")
        assert (await one.terminal())["event"]["code"] == "too_large"


async def test_compaction_keeps_to_the_size_limit_of_events() -> None:
    async with talk(Script(*(["x" * 10_000] * 100)), replay_window=0.0) as one:
        await one.client.say("go", "m1")
        await one.terminal()
        before = await one.log()
        (session,) = list(one.gateway.sessions)
        await compact_run(session._store, session.id, first=1, last=session.head.seq)
        after = await one.log()
        assert max(len(record.data) for record in after) <= TEXT
        assert len(after) <= len(before)
        assert await one.texts() == ["x" * 10_000 * 100]

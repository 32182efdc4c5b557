"""What an agent may not yield: its run ends with an error, and the log stays readable."""

from __future__ import annotations

import math
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from agentws.protocol import events as e
from agentws.protocol import messages as m
from agentws.testing.agents import Script, Yield

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
    "text that is bytes": [START, content(b"text")],
    "a result that is bytes": [e.ToolCallResult("r", "c", b"ok")],  # type: ignore[arg-type]
    "an id that is bytes": [e.TextMessageStart(b"t")],  # type: ignore[arg-type]
    "a name that is a buffer": [e.Custom(memoryview(b"n"), 1)],  # type: ignore[arg-type]
    "messages with an id that is bytes": [e.MessagesSnapshot([m.UserMessage(b"u", "x")])],  # type: ignore[arg-type]
    "an error that is bytes": [e.RunError(b"no")],  # type: ignore[arg-type]
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
async def test_an_invalid_event_ends_the_run_with_an_error(items: list[Any], before: str) -> None:
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


async def test_values_that_json_has_as_text_may_be_any_of_them() -> None:
    value = {"when": date(2026, 1, 2), "pair": (1, 2), 3: Decimal("4.50"), "data": b"bytes"}
    async with talk(Script(named={"go": [Yield(e.Custom("n", value))]})) as one:
        await one.client.say("go", "m1")
        assert (await one.terminal())["event"]["type"] == "RUN_FINISHED"
        [custom] = [event for event in one.client.events() if event["type"] == "CUSTOM"]
    written = {"when": "2026-01-02", "pair": [1, 2], "3": "4.50", "data": "Ynl0ZXM="}
    assert custom["value"] == written


def _text(message: m.Message) -> str | None:
    return message.content if isinstance(message, m.AssistantMessage) else None

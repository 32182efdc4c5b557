"""Errors of the connection after the finish reason do not change how an answer ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agentws.agents.llm import LLMCutOff, LLMRateLimited, LLMRefused, LLMUnavailable
from agentws.testing.fakellm import Fault, Reply

from .wires import (
    Connect,
    Event,
    anthropic_delta,
    anthropic_messages,
    openai_chat,
    openai_delta,
    refused,
    whole,
)


def openai_end(reason: str) -> Event:
    return openai_delta({}, finish_reason=reason)


def anthropic_end(reason: str) -> Event:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {}}


ENDS: Mapping[str, tuple[Connect, Event]] = {
    "openai": (openai_chat, openai_end("stop")),
    "anthropic": (anthropic_messages, anthropic_end("end_turn")),
}
LIMITS: Mapping[str, tuple[Connect, Event, type[Exception]]] = {
    "openai, length": (openai_chat, openai_end("length"), LLMCutOff),
    "openai, filter": (openai_chat, openai_end("content_filter"), LLMRefused),
    "anthropic": (anthropic_messages, anthropic_end("max_tokens"), LLMCutOff),
}
BREAKS: list[Fault] = ["drop", "malformed"]


def ending(*events: Any, fault: Fault) -> Reply:
    return Reply("one two", events=events, fault=fault, after=2)


@pytest.mark.parametrize("fault", BREAKS)
@pytest.mark.parametrize(("connect", "end"), ENDS.values(), ids=ENDS)
async def test_an_answer_is_complete_when_the_connection_breaks_after_its_finish_reason(
    connect: Connect, end: Event, fault: Fault
) -> None:
    assert (await whole(connect, ending(end, fault=fault))).text == "one two"


@pytest.mark.parametrize("fault", BREAKS)
@pytest.mark.parametrize(("connect", "end", "kind"), LIMITS.values(), ids=LIMITS)
async def test_a_broken_connection_does_not_hide_the_finish_reason_before_it(
    connect: Connect, end: Event, kind: type[Exception], fault: Fault
) -> None:
    text, error = await refused(connect, ending(end, fault=fault))
    assert (text, type(error)) == ("one two", kind)


@pytest.mark.parametrize("fault", BREAKS)
@pytest.mark.parametrize("reason", ["in_progress", "null", "error"])
async def test_a_broken_connection_after_an_unknown_finish_reason_is_an_error(
    reason: str, fault: Fault
) -> None:
    _, error = await refused(openai_chat, ending(openai_end(reason), fault=fault))
    assert type(error) is LLMUnavailable


PIECES: Mapping[str, tuple[Connect, list[Event]]] = {
    "openai": (
        openai_chat,
        [openai_delta({"content": text}, finish_reason="stop") for text in ("three", "four")],
    ),
    "anthropic": (
        anthropic_messages,
        [anthropic_end("end_turn"), anthropic_delta(type="text_delta", text="three")],
    ),
}


@pytest.mark.parametrize("fault", BREAKS)
@pytest.mark.parametrize(("connect", "events"), PIECES.values(), ids=PIECES)
async def test_a_break_is_an_error_when_text_followed_the_finish_reason(
    connect: Connect, events: list[Event], fault: Fault
) -> None:
    _, error = await refused(connect, ending(*events, fault=fault))
    assert type(error) is LLMUnavailable


@pytest.mark.parametrize(("connect", "end"), ENDS.values(), ids=ENDS)
async def test_an_error_reported_after_the_finish_reason_fails_the_answer(
    connect: Connect, end: Event
) -> None:
    _, error = await refused(connect, ending(end, fault="rate_limit"))
    assert type(error) is LLMRateLimited


async def test_an_error_with_an_unknown_code_after_the_finish_reason_fails_the_answer() -> None:
    reply = ending(openai_end("stop"), {"error": {"message": "It broke."}}, fault="truncate")
    _, error = await refused(openai_chat, reply)
    assert type(error) is LLMUnavailable

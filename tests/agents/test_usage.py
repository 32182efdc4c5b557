"""Token usage: no report of a provider makes an answer fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentws.agents.output import Output
from agentws.agents.run_context import RunContext
from agentws.agents.usage import readable_usage, token_count
from agentws.errors import AgentError, DelegateFailed
from agentws.events import CancelledOutcome, RunError, RunFinished, TokenUsage
from tests.runs.harness import talk

USED = TokenUsage("p", "m", 7)


@pytest.mark.parametrize(
    ("value", "count"),
    [(0, 0), (7, 7), (7.0, 7), (7.9, 7), ("7", 7), (" 7.0 ", 7), (2**53, 2**53), (-0.0, 0)]
    + [(value, None) for value in (None, True, -1, -0.5, 2**53 + 2, 10**400, float("nan"))]
    + [(value, None) for value in ("", "many", "inf", "9" * 5000, [7], {"n": 7}, b"7", ())],
)
def test_a_token_count_is_read_in_any_form(value: Any, count: int | None) -> None:
    assert token_count(value) == count


@pytest.mark.parametrize("value", ["12", 12.0, "12.0"])
async def test_usage_in_odd_forms_is_reported(value: Any) -> None:
    odd: list[Any] = ["p", "\ud83d\x00", value, [value], 10**400, -1]

    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "Hello"
        ctx.report_usage(TokenUsage(*odd))

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        event = (await one.terminal())["event"]
        assert event["outcome"] == {"type": "success"}
        assert event["usage"] == [{"provider": "p", "inputTokens": 12}]


class Name(str):
    """A subclass of ``str`` that no encoder knows."""


@pytest.mark.parametrize("fails", [False, True])
async def test_a_model_named_by_a_subclass_of_str_is_reported(fails: bool) -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        ctx.report_usage(TokenUsage(Name("p"), Name("m"), 7))
        yield "Hello"
        if fails:
            raise AgentError("no more")

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        event = (await one.terminal())["event"]
        assert event["usage"] == [{"provider": "p", "model": "m", "inputTokens": 7}]
        assert ("code" in event) is fails


async def failing(ctx: RunContext) -> AsyncIterator[Output]:
    ctx.report_usage(USED)
    yield "Hello"
    raise AgentError("no more")


async def ending_with_an_error(ctx: RunContext) -> AsyncIterator[Output]:
    ctx.report_usage(USED)
    yield RunError("no more", usage=[TokenUsage("q", input_tokens=1)])


async def stopped(ctx: RunContext) -> AsyncIterator[Output]:
    ctx.report_usage(USED)
    yield "Hello"
    await asyncio.sleep(1000)


async def cancelling_itself(ctx: RunContext) -> AsyncIterator[Output]:
    ctx.report_usage(USED)
    yield RunFinished(ctx.session.id, ctx.run_id, outcome=CancelledOutcome())


async def leaving_a_delegate(ctx: RunContext) -> AsyncIterator[Output]:
    try:
        await ctx.delegate("failing", "do it")
    except DelegateFailed:
        raise AgentError("no more") from None
    yield "never"


@pytest.mark.parametrize(
    ("agent", "end", "more"),
    [
        (failing, "RUN_ERROR", []),
        (ending_with_an_error, "RUN_ERROR", [{"provider": "q", "inputTokens": 1}]),
        (stopped, "RUN_FINISHED", []),
        (cancelling_itself, "RUN_FINISHED", []),
        (leaving_a_delegate, "RUN_ERROR", []),
    ],
)
async def test_a_run_that_fails_or_is_stopped_says_what_it_used(
    agent: Any, end: str, more: list[Any]
) -> None:
    async with talk({"agent": agent, "failing": failing}) as one:
        await one.client.say("go", "m1")
        if agent is stopped:
            await one.client.until("TEXT_MESSAGE_CONTENT")
            await one.client.send({"type": "cancel", "id": "c1"})
        event = (await one.terminal())["event"]
        assert event["type"] == end
        used = {"provider": "p", "model": "m", "inputTokens": 7}
        assert sorted(event["usage"], key=str) == sorted([used, *more], key=str)


async def test_usage_that_is_too_large_for_the_end_of_a_failed_run_is_left_out() -> None:
    async def agent(ctx: RunContext) -> AsyncIterator[str]:
        yield "Hello"
        for number in range(3000):
            ctx.report_usage(TokenUsage(f"provider {number} " + "x" * 100))
        raise AgentError("no more")

    async with talk(agent) as one:
        await one.client.say("go", "m1")
        event = (await one.terminal())["event"]
        assert (event["message"], "usage" in event) == ("no more", False)


def test_valid_usage_is_reported_unchanged() -> None:
    usage = TokenUsage("p", "m", 1, 2, 3, 4, 5, 6)
    assert readable_usage(usage) == usage
    assert readable_usage(TokenUsage()) == TokenUsage()


@pytest.mark.parametrize("usage", [None, {"input_tokens": 1}, 5], ids=str)
def test_anything_but_a_token_usage_is_a_type_error(usage: Any) -> None:
    with pytest.raises(TypeError, match="expected a TokenUsage"):
        readable_usage(usage)
